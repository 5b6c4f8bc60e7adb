"""Runs are recorded, resumed and done side by side."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
from experiments import (  # noqa: E402
    CIRCUMSTANCES,
    Experiment,
    RunTable,
    Words,
    command_line,
    measure_in_turns,
    run_side_by_side,
)


@pytest.fixture
def table(tmp_path: Path) -> RunTable:
    columns = ("arm", "fold", "status", "score", "seconds", *CIRCUMSTANCES, "note")
    results, runs = tmp_path / "results", tmp_path / "runs"
    return RunTable("tiny", columns, ("arm", "fold"), results, runs)


def broken() -> dict[str, float]:
    raise ValueError("no\nsuch image")


def test_a_failed_run_is_kept_and_tried_again(table: RunTable) -> None:
    table.record({"arm": "a", "fold": 0}, broken)
    assert table.finished() == set()
    table.record({"arm": "a", "fold": 0}, lambda: {"score": 0.5})
    assert table.finished() == {("a", "0")}
    rows = pd.read_csv(table.path)
    assert rows["status"].tolist() == ["failed", "done"]
    assert rows["note"].tolist()[0] == "ValueError: no such image"
    assert rows["score"].tolist()[1] == 0.5
    assert list(rows) == list(table.columns)


def test_items_of_a_repeated_run_take_the_place_of_the_old_ones(
    table: RunTable, tmp_path: Path
) -> None:
    path = tmp_path / "items.parquet"
    for arm, fold, right in (("a", 0, 1.0), ("a", 1, 2.0), ("b", 0, 3.0), ("a", 0, 4.0)):
        items = pd.DataFrame({"path": ["x", "y"], "right": right}, index=[7, 9])
        table.keep_items(path, {"arm": arm, "fold": fold}, items)
    kept = pd.read_parquet(path)
    assert list(kept) == ["arm", "fold", "path", "right"]
    found = kept.groupby(["arm", "fold"])["right"].agg(list).to_dict()
    assert found == {("a", 0): [4.0, 4.0], ("a", 1): [2.0, 2.0], ("b", 0): [3.0, 3.0]}


def test_runs_go_side_by_side_and_never_more_than_asked(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import os, pathlib, sys, time
        here = pathlib.Path(__file__).parent
        mark = here / f"{sys.argv[2]}.running"
        mark.touch()
        running = len(list(here.glob("*.running")))
        time.sleep(0.3)
        said = f"{' '.join(sys.argv[1:])} {running} {os.environ['OMP_NUM_THREADS']}"
        (here / f"{sys.argv[2]}.txt").write_text(said)
        mark.unlink()
        """)
    )
    waiting = [(name, "0") for name in "abc"]
    run_side_by_side(str(script), waiting, 2)
    said = {path.stem: path.read_text().split() for path in tmp_path.glob("*.txt")}
    assert {name: words[:3] for name, words in said.items()} == {
        name: ["one", name, "0"] for name in "abc"
    }
    assert max(int(words[3]) for words in said.values()) <= 2


# --- jobs and their command line ------------------------------------------------------------------


def both_arms(job: Words) -> list[Words]:
    return [(arm, *job) for arm in "ab"]


def test_a_job_is_left_while_one_of_its_runs_is_missing(table: RunTable) -> None:
    experiment = Experiment(table, [("0",), ("1",)], lambda fold: None, both_arms)
    for arm, fold in (("a", 0), ("a", 1), ("b", 1)):
        table.record({"arm": arm, "fold": fold}, dict)
    table.record({"arm": "b", "fold": 0}, broken)
    assert experiment.left() == [("0",)]


def test_only_some_jobs_may_be_asked_for(table: RunTable) -> None:
    jobs = [(arm, fold) for fold in "01" for arm in "abc"]
    experiment = Experiment(table, jobs, lambda arm, fold: None)
    assert experiment.left() == jobs
    assert experiment.left(["b"]) == [("b", "0"), ("b", "1")]
    assert experiment.left(["c", "a"]) == [("a", "0"), ("c", "0"), ("a", "1"), ("c", "1")]
    table.record({"arm": "a", "fold": 0}, dict)
    assert experiment.left(["a"]) == [("a", "1")]


def test_the_command_line_does_one_job_or_refuses_it(
    table: RunTable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[tuple[str, ...]] = []
    experiment = Experiment(table, [("a", "0")], lambda *words: done.append(words))
    for words in (["one", "a", "0"], ["summary"]):
        monkeypatch.setattr(sys, "argv", ["tiny.py", *words])
        command_line(experiment, "tiny.py", "Tiny.", {"summary": lambda: done.append(("told",))})
    assert done == [("a", "0"), ("told",)]
    monkeypatch.setattr(sys, "argv", ["tiny.py", "one", "a", "1"])
    with pytest.raises(SystemExit) as stopped:
        command_line(experiment, "tiny.py", "Tiny.", {})
    assert stopped.value.code == 2
    assert "one must be a job of the experiment, got a 1" in capsys.readouterr().err
    assert len(done) == 2


def test_run_does_what_is_left_and_what_was_asked_for(
    table: RunTable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import pathlib, sys\n"
        "(pathlib.Path(__file__).parent / '-'.join(sys.argv[1:])).with_suffix('.txt').touch()\n"
    )
    table.record({"arm": "a", "fold": 0}, dict)
    experiment = Experiment(table, [("a", "0"), ("a", "1"), ("b", "0")], lambda *words: None)
    monkeypatch.setattr(sys, "argv", ["script.py", "run", "--only", "a"])
    command_line(experiment, str(script), "Tiny.", {})
    assert [path.name for path in tmp_path.glob("*.txt")] == ["one-a-1.txt"]


def test_arms_take_turns_and_every_round_is_a_row(tmp_path: Path) -> None:
    turns = iter(range(4))
    path = tmp_path / "speed.csv"
    measure_in_turns(path, "ab", lambda arm: {"turn": next(turns)}, rounds=2)
    rows = pd.read_csv(path)
    assert list(rows) == ["arm", "round", "turn", *CIRCUMSTANCES]
    assert rows["arm"].tolist() == ["a", "b", "a", "b"]
    assert rows["round"].tolist() == [1, 1, 2, 2]
    assert rows["turn"].tolist() == [0, 1, 2, 3]


def test_nothing_recorded_is_a_table_without_rows(table: RunTable) -> None:
    assert list(table.read()) == list(table.columns)
    assert len(table.read()) == 0
    assert table.items() == table.results / "tiny_items.parquet"
    assert table.items("other") == table.results / "tiny_other_items.parquet"
