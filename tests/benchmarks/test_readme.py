"""The table of benchmarks names every file, and what it names is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
TEXT = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.partition("## What they share")[0].splitlines()
    if line.startswith("| [")
]


def test_every_file_is_named() -> None:
    linked = set(re.findall(r"\]\(([\w.]+)\)", TEXT))
    files = {path.name for path in BENCHMARKS.glob("*.py") if not path.stem.endswith("_summary")}
    protocols = {path.name for path in BENCHMARKS.glob("*.md")} - {"README.md"}
    assert linked == files | protocols


@pytest.mark.parametrize("cells", ROWS, ids=lambda cells: re.findall(r"\w+", cells[0])[0])
def test_a_result_is_there_or_said_not_to_be(cells: list[str]) -> None:
    for result in re.findall(r"`([^`]+)`", cells[-1]):
        there = bool(list((BENCHMARKS / "results").glob(result)))
        assert there != ("not recorded yet" in cells[-1]), result


def test_make_bench_runs_files_of_the_table() -> None:
    shown = ["make", "--dry-run", "--always-make", "bench", "LIKENESS_DATA=x", "BIN=bin"]
    said = subprocess.run(shown, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = re.search(r"for name in ([\w ]+);", said)
    assert names is not None
    assert {f"{name}.py" for name in names[1].split()} <= set(
        re.findall(r"^\| \[([\w.]+)", TEXT, re.M)
    )
