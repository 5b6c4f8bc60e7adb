"""Figures over runs, paired differences and their tables, against loops and by hand."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
from likeness.evaluation.resampling import Interval  # noqa: E402
from summaries import (  # noqa: E402
    Answers,
    Block,
    difference_rows,
    mean_of,
    read_items,
    row,
    section,
    table,
    total_of_runs,
)

RIGHT = mean_of("accuracy", "right")


def drawn(*, shared: bool, arms: str = "ab", runs: int = 3) -> pd.DataFrame:
    """Twelve items in four groups for each arm and run, in any order."""
    generator = np.random.default_rng(0)
    rows = [
        {
            "arm": arm,
            "seed": run,
            "path": f"{0 if shared else run}-{item:02d}",
            "group": f"{0 if shared else run}-{item // 3}",
            "right": generator.random() < 0.4 + 0.2 * (arm == "a"),
        }
        for run in range(runs)
        for arm in arms
        for item in range(12)
    ]
    return pd.DataFrame(rows).sample(frac=1.0, random_state=1)


def answers_of(items: pd.DataFrame, *, shared: bool) -> Answers:
    return Answers(items, run="seed", item="path", shared_groups=shared)


def accuracy(items: pd.DataFrame, arm: str, run: int) -> float:
    kept = [one.right for one in items.itertuples() if (one.arm, one.seed) == (arm, run)]
    return sum(kept) / len(kept)


@pytest.mark.parametrize("shared", [True, False], ids=["seeds", "folds"])
def test_a_figure_is_the_mean_over_runs(shared: bool) -> None:
    items = drawn(shared=shared)
    found = answers_of(items, shared=shared).estimate("a", RIGHT)
    assert found is not None
    runs, level = found
    assert (runs, level.groups) == (3, 4 if shared else 12)
    assert level.value == pytest.approx(np.mean([accuracy(items, "a", run) for run in range(3)]))
    assert level.low < level.value < level.high


@pytest.mark.parametrize("shared", [True, False], ids=["seeds", "folds"])
def test_a_difference_is_over_the_runs_that_both_arms_have(shared: bool) -> None:
    items = drawn(shared=shared)
    items = items[(items["arm"] != "b") | (items["seed"] != 1)]
    found = answers_of(items, shared=shared).difference("a", "b", RIGHT)
    assert found is not None
    runs, between = found
    oracle = [accuracy(items, "a", run) - accuracy(items, "b", run) for run in (0, 2)]
    assert runs == 2
    assert between.value == pytest.approx(np.mean(oracle))
    assert between.p_value is not None


def test_one_run_covers_evaluation_noise_only() -> None:
    answers = answers_of(drawn(shared=True, runs=1), shared=True)
    for found in (answers.estimate("a", RIGHT), answers.difference("a", "b", RIGHT)):
        assert found is not None
        assert (found[0], found[1].label) == (1, "evaluation noise only")


def test_an_arm_without_runs_has_no_figure() -> None:
    answers = answers_of(drawn(shared=True), shared=True)
    assert answers.estimate("z", RIGHT) is None
    assert answers.difference("a", "z", RIGHT) is None
    nothing = read_items(Path("nowhere.parquet"), ("arm", "seed", "path", "group", "right"))
    assert answers_of(nothing, shared=True).estimate("a", RIGHT) is None


def test_an_item_without_a_value_does_not_count() -> None:
    items = pd.DataFrame({"group": ["x", "x", "y"], "right": [1.0, math.nan, 0.5]})
    np.testing.assert_array_equal(RIGHT.sums(items), [[1.0, 1.0], [0.5, 1.0]])


def test_p_values_are_corrected_over_all_rows_that_were_run() -> None:
    def found(value: float, p_value: float | None) -> tuple[int, Interval]:
        one = Interval(value, value - 0.1, value + 0.1, 4, 2000, 0.95, p_value=p_value)
        return 3, one

    titled = [
        ("x", found(0.5, 0.01)),
        ("y", None),
        ("z", found(-0.25, 0.03)),
        ("w", found(0.0, None)),
    ]
    assert difference_rows(titled) == [
        ["x", "3", "+0.5000", "[+0.4000, +0.6000]", "0.03"],
        ["z", "3", "-0.2500", "[-0.3500, -0.1500]", "0.06"],
        ["w", "3", "+0.0000", "[-0.1000, +0.1000]", "1"],
    ]
    assert difference_rows([("y", None)]) == []


def test_a_row_that_ends_early_is_filled() -> None:
    assert table(["arm", "n", "value"], [["a", 1, 0.5], ["b", "not run yet"]]).splitlines() == [
        "| arm | n | value |",
        "|---|---|---|",
        "| a | 1 | 0.5 |",
        "| b | not run yet | |",
    ]
    assert row(["a", "", "c"]) == "| a |  | c |"
    assert section("Runs", "one", "two") == "## Runs\n\none\n\ntwo"


def test_failed_runs_are_counted() -> None:
    runs = pd.DataFrame({"status": ["done", "failed", "done"]})
    assert total_of_runs(runs, "tiny.csv") == "## Runs\n\n2 done, 1 failed; all rows in `tiny.csv`."
    assert "none yet" in total_of_runs(runs[:0], "tiny.csv")


def test_a_block_goes_into_its_place_and_nothing_else_changes(tmp_path: Path) -> None:
    block = Block(tmp_path / "page.md", "tiny", "a command")
    first = block.within("before\n", "old")
    text = f"{first}\nafter\n"
    block.document.write_text(text, encoding="utf-8")
    block.write("new\nlines")
    changed = block.document.read_text(encoding="utf-8")
    assert changed == text.replace("old", "new\nlines")
    assert block.within(changed, "new\nlines") == changed
