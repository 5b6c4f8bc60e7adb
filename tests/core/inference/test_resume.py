"""A call that was killed goes on: nothing lost, nothing twice, the same bytes."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fixtures.stand_in_model import StandIn, write_files
from likeness.errors import UserError
from likeness.files import atomic_path
from likeness.inference import parts as work
from likeness.inference import shards

TESTS = Path(__file__).parents[2]
SECONDS = 120  # for a machine under load; a process takes some to begin
SCRIPT = """
import sys
from fixtures.stand_in_model import StandIn
from likeness.inference import shards
command, source, out, pause = sys.argv[1:]
print("ready", flush=True)
write = getattr(shards, command)
done = write(StandIn(batch_size=2, pause=float(pause)), source, out, part_rows=4)
print(done.resumed, flush=True)
"""


def start(command, source, out, pause):
    core = Path(shards.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{core}"}
    arguments = [sys.executable, "-c", SCRIPT, command, str(source), str(out), str(pause)]
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True)


def kill_when(process, ready):
    """SIGKILL as soon as `ready()` is true; fails if the process ends before."""
    deadline = time.monotonic() + SECONDS
    while not ready():
        assert process.poll() is None, "the process ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize(("command", "name"), [("predict", "p.csv"), ("embed", "e.npy")])
def test_killed_again_and_again(tmp_path, command, name):
    """Killed before the first part, after the first, after the third; then left alone."""
    write_files(tmp_path / "in", 26, bad={3, 4, 5, 6, 21})
    write = getattr(shards, command)
    whole = write(StandIn(batch_size=2), tmp_path / "in", tmp_path / "whole" / name, part_rows=4)
    out = tmp_path / "cut" / name
    folder = out.with_name(f"{name}.parts")
    for finished in (0, 1, 3):
        process = start(command, tmp_path / "in", out, 0.3)
        marks = ["job.json"] if finished == 0 else [f"part-{finished - 1:06d}.parquet"]
        kill_when(process, lambda marks=marks: all((folder / mark).exists() for mark in marks))
        assert not out.exists()
        there = sorted(folder.glob("part-*.parquet"))
        assert finished <= len(there) < 7
    told = []
    model = StandIn(batch_size=2)
    written = write(
        model, tmp_path / "in", out, part_rows=4, on_progress=lambda done, _: told.append(done)
    )
    assert written.resumed == told[0] == 4 * len(there)
    assert model.seen <= 26 - 5 - 4 * (len(there) - 2)  # finished parts are not answered again
    assert (written.rows, written.ok) == (whole.rows, whole.ok) == (26, 21)
    for mine, other in zip(written.out, whole.out, strict=True):
        assert mine.read_bytes() == other.read_bytes()
    assert not folder.exists()


class Killed(BaseException):
    """Stands for SIGKILL at one exact place."""


def kill_at(monkeypatch, place, *, first, folder):
    """`predict` dies where it calls `place`, at once or when that is done."""
    function = getattr(shards, place)

    def dies(*arguments):
        if not first:
            function(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shards, place, dies)
        with pytest.raises(Killed):
            shards.predict(StandIn(), folder / "in", folder / "cut.csv")


def test_killed_while_the_final_file_is_made(tmp_path, monkeypatch):
    write_files(tmp_path / "in", 9)
    shards.predict(StandIn(), tmp_path / "in", tmp_path / "whole.csv")
    for place, first in (("write_csv", True), ("write_json", True), ("write_json", False)):
        kill_at(monkeypatch, place, first=first, folder=tmp_path)
        assert not (tmp_path / "cut.csv").exists()
    for first in (True, False):  # the file is in its place, the folder is not yet gone
        kill_at(monkeypatch, "close", first=first, folder=tmp_path)
        assert (tmp_path / "cut.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not (tmp_path / "cut.csv.parts").exists()


@pytest.mark.parametrize("place", ["empty", "shutil.rmtree"])
def test_killed_while_the_folder_is_removed(tmp_path, monkeypatch, place):
    write_files(tmp_path / "in", 9, bad={2})
    out, left = tmp_path / "e.npy", tmp_path / "e.npy.parts"

    def leave():
        """A finished job whose folder is still there, whole or all but the record."""
        with monkeypatch.context() as patch:
            patch.setattr(f"likeness.work_folder.{place}", lambda *arguments, **options: None)
            if place == "empty":
                patch.setattr(work.shutil, "rmtree", lambda *arguments, **options: None)
            shards.embed(StandIn(), tmp_path / "in", out, overwrite=True)
        assert left.exists()

    leave()
    before, model = out.read_bytes(), StandIn()
    written = shards.embed(model, tmp_path / "in", out)  # the same call again: already done
    assert (written.rows, written.ok, written.resumed, model.seen) == (9, 8, 9, 0)
    assert out.read_bytes() == before
    assert not left.exists()

    leave()
    with pytest.raises(UserError, match="must be the name of a file that is not there yet"):
        shards.embed(StandIn(model_id="m1"), tmp_path / "in", out)  # another call
    assert out.read_bytes() == before
    assert not left.exists()

    leave()
    out.unlink()
    (tmp_path / "e.parquet").unlink()
    written = shards.embed(StandIn(model_id="m1"), tmp_path / "in", out)
    assert written.resumed == 0
    assert set(pq.read_table(tmp_path / "e.parquet")["model_id"].to_pylist()) == {"m1"}


def test_rests_without_a_record_are_nothing(tmp_path):
    """Parts of an older job are not taken for those of a new one."""
    write_files(tmp_path / "in", 20)
    begin(tmp_path / "in", tmp_path / "p.csv")
    (tmp_path / "p.csv.parts" / "job.json").unlink()
    written = shards.predict(StandIn(model_id="m1"), tmp_path / "in", tmp_path / "p.csv")
    assert written.resumed == 0
    assert "m0" not in (tmp_path / "p.csv").read_text()


def begin(folder, out, **options):
    """Finish two parts, then stop."""

    class Stop(Exception):
        pass

    def stop(done, total):
        if done >= 10:
            raise Stop

    with pytest.raises(Stop):
        shards.predict(StandIn(), folder, out, part_rows=4, on_progress=stop, **options)


@pytest.mark.parametrize(
    "change", ["model", "settings", "added", "edited", "gone", "shard", "command"]
)
def test_parts_of_other_work_are_refused(tmp_path, change):
    source, out = tmp_path / "in", tmp_path / "p.parquet"
    write_files(source, 20)
    begin(source, out)
    model = StandIn(model_id="m1" if change == "model" else "m0")
    shard = (1, 2) if change == "shard" else (1, 1)
    write = shards.embed if change == "command" else shards.predict
    if change == "settings":
        model.settings = {"readout": "knn", "k": 5}
    if change == "added":
        (source / "a" / "new.png").write_text("new")
    if change == "edited":
        (source / "a" / "0002.png").write_text("edited, so that the length differs")
    if change == "gone":
        (source / "b" / "0019.png").unlink()
    sentence = (
        r"^out must be a name whose parts belong to the same work \(remove .*p.parquet.parts "
    )
    with pytest.raises(UserError, match=sentence) as raised:
        write(model, source, out, shard=shard)
    assert "\n" not in str(raised.value)
    assert len(list((tmp_path / "p.parquet.parts").glob("part-*"))) == 2  # and nothing is lost


def test_another_batch_or_part_size_may_go_on(tmp_path):
    """Who ran out of memory repeats the call with smaller batches."""
    write_files(tmp_path / "in", 20)
    begin(tmp_path / "in", tmp_path / "p.csv")
    written = shards.predict(
        StandIn(batch_size=1), tmp_path / "in", tmp_path / "p.csv", part_rows=7
    )
    assert written.resumed == 8
    shards.predict(StandIn(), tmp_path / "in", tmp_path / "q.csv")
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "q.csv").read_bytes()


def test_files_that_appear_during_the_work_are_not_in_it(tmp_path):
    names = write_files(tmp_path / "in", 6)

    def add(done, total):
        (tmp_path / "in" / "a" / f"0000-{done}.png").write_text("late")

    written = shards.predict(
        StandIn(batch_size=1), tmp_path / "in", tmp_path / "p.csv", part_rows=2, on_progress=add
    )
    rows = (tmp_path / "p.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == names
    assert written.rows == 6


def test_two_processes_do_not_share_an_output(tmp_path):
    write_files(tmp_path / "in", 20)
    out = tmp_path / "p.csv"
    process = start("predict", tmp_path / "in", out, 0.5)
    try:
        deadline = time.monotonic() + SECONDS
        while not (tmp_path / "p.csv.parts" / "job.json").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(UserError, match=r"^out must be free, got .*p.csv, which another "):
            shards.predict(StandIn(), tmp_path / "in", out)
    finally:
        process.kill()
        process.communicate()
    assert shards.predict(StandIn(), tmp_path / "in", out).rows == 20


def test_a_record_of_another_version_is_refused(tmp_path):
    write_files(tmp_path / "in", 20)
    begin(tmp_path / "in", tmp_path / "p.csv")
    record = tmp_path / "p.csv.parts" / "job.json"
    record.write_text(json.dumps({"format_version": 99}))
    with pytest.raises(UserError, match=r"^out must be a name without foreign parts .*job.json"):
        shards.predict(StandIn(), tmp_path / "in", tmp_path / "p.csv")


@pytest.mark.parametrize("place", ["write_part", "write_csv"])
def test_a_full_disk_is_one_sentence_and_costs_no_finished_part(tmp_path, monkeypatch, place):
    write_files(tmp_path / "in", 20)
    whole = tmp_path / "whole.csv"
    shards.predict(StandIn(), tmp_path / "in", whole, part_rows=4)
    original, calls = getattr(shards, place), []

    def full(path, *arguments):
        calls.append(path)
        if place == "write_part" and len(calls) <= 2:
            return original(path, *arguments)
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "p.csv"
    with monkeypatch.context() as patch:
        patch.setattr(shards, place, full)
        sentence = r"^out must be on a disk with free space, got .*p.csv: No space left on device "
        with pytest.raises(UserError, match=sentence) as raised:
            shards.predict(StandIn(), tmp_path / "in", out, part_rows=4)
    assert "\n" not in str(raised.value)
    assert not out.exists()
    kept = sorted(item.name for item in (tmp_path / "p.csv.parts").glob("*.parquet"))
    assert len(kept) == (2 if place == "write_part" else 5)
    written = shards.predict(StandIn(), tmp_path / "in", out, part_rows=4)
    assert written.resumed == 4 * len(kept)
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("name", "part_rows"), [("e.npy", 100), ("e.parquet", 100), ("e.npy", 400)]
)
def test_a_real_limit_on_file_sizes_is_one_sentence(tmp_path, name, part_rows):
    """The same with the operating system's own error, while joining or in a part."""
    write_files(tmp_path / "in", 400)
    out, model = tmp_path / name, StandIn(dim=32)
    model.prepare = lambda path: np.random.default_rng(list(path.read_bytes())).random(32)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
        with pytest.raises(
            UserError, match=rf"^out must be on a disk with free space, got .*{name}"
        ):
            shards.embed(model, tmp_path / "in", out, part_rows=part_rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not out.exists()
    written = shards.embed(model, tmp_path / "in", out)
    assert written.resumed == (400 if part_rows == 100 else 0)
    assert pq.read_table(tmp_path / "e.parquet").num_rows == 400
