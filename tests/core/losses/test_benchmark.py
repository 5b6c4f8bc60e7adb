"""The side-by-side benchmark compares like with like, and writes what it says."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # of what it imports


def load() -> object:
    spec = importlib.util.spec_from_file_location("losses_benchmark", BENCHMARKS / "losses.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    assert spec.loader is not None
    spec.loader.exec_module(module)
    return module


def test_every_row_runs_and_agrees_with_its_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = load()
    known = benchmark.rows()
    alone = [row for row in known if row.theirs is None]
    rows = [row for row in known if row.theirs is not None] + alone[:1]
    monkeypatch.setattr(benchmark, "rows", lambda: rows)
    out = tmp_path / "losses.json"
    words = ["losses.py", "--sizes", "32", "--budget", "0", "--threads", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    benchmark.main()
    cells = json.loads(out.read_text(encoding="utf-8"))["cells"]
    compared = [cell for cell in cells if "theirs" in cell]
    assert len(compared) == len(rows) - 1 > 5
    assert len(cells) == len(rows) == len(capsys.readouterr().out.splitlines()) - 1
    alike = {row.name for row in rows if row.same_value}
    assert len(alike) > len(rows) - 5
    for cell in (cell for cell in compared if cell["loss"] in alike):
        assert cell["ours"]["value"] == pytest.approx(cell["theirs"]["value"], rel=1e-4)
    for cell in cells:
        assert cell["ours"]["best_ms"] > 0
        assert cell["ours"]["peak_mib"] * 2**20 >= 32 * 32


def test_parts_stand_beside_what_they_aim_at() -> None:
    benchmark = load()
    known = [row for row in benchmark.rows() if row.name in ("supcon", "triplet", "proxy_nca")]
    cells = []
    for row, times in zip(known, (9, 2, 1), strict=True):
        gram = {"best_ms": 10.0, "best_cpu_ms": 10.0}
        ours = {"best_ms": 30.0, "best_cpu_ms": 10.0 * times}
        cells.append({"loss": row.name, "n": 1024, "gram": gram, "ours": ours})
    cells.append({**cells[0], "n": 512, "ours": {"best_ms": 1.0, "best_cpu_ms": 1.0}})
    triplet, supcon, proxies = benchmark.against_the_limit(known, cells)
    assert (triplet["kind"], triplet["aim"], triplet["processor"]) == ("counted", 8, 9.0)
    assert (triplet["kept"], supcon["kept"], proxies["kept"]) == (False, True, None)
    assert triplet["wall"] == 3.0
    assert "ABOVE" in benchmark.limit_line(triplet)
    assert triplet["why"]
