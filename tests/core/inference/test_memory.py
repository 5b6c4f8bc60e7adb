"""Memory does not grow with the input."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.stand_in_model import write_files
from likeness.inference import shards

SCRIPT = """
import sys
from pathlib import Path
from fixtures.stand_in_model import StandIn
from likeness.inference import shards
source, out = map(Path, sys.argv[1:])
model = StandIn(dim=2048, batch_size=16)
shards.embed(model, source, out / "e.npy", part_rows=64)
shards.embed(model, source, out / "f.parquet", part_rows=64)
shards.predict(model, source, out / "p.csv", part_rows=64)
# Not ru_maxrss: a child inherits its parent's peak across exec.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(status["VmHWM"].split()[0])
"""


def peak_kib(source, out):
    core = Path(shards.__file__).parents[2]
    tests = Path(__file__).parents[2]
    # Few allocator arenas: how many a loaded machine's threads open is not what is measured.
    steady = {"PYTHONPATH": f"{tests}{os.pathsep}{core}", "MALLOC_ARENA_MAX": "2"}
    environment = {**os.environ, **steady}
    command = [sys.executable, "-c", SCRIPT, str(source), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_six_times_the_images_need_no_more_memory(tmp_path):
    """4,000 embeddings of 8 KiB more are 32 MiB: kept anywhere, they would show.

    The small set is large enough to have filled every buffer and pool once.
    """
    write_files(tmp_path / "few", 800)
    write_files(tmp_path / "many", 4800)
    few = peak_kib(tmp_path / "few", tmp_path / "out-few")
    many = peak_kib(tmp_path / "many", tmp_path / "out-many")
    assert many - few < 10 * 1024
