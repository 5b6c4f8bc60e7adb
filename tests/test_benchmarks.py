"""Published tables come from recorded runs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import aid_scenes_summary as summary  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture(scope="module")
def recorded() -> tuple[pd.DataFrame, pd.DataFrame]:
    runs = pd.read_csv(RESULTS / "aid_scenes.csv")
    return runs, pd.read_parquet(RESULTS / "aid_scenes_items.parquet")


def test_the_readme_shows_the_recorded_table(recorded: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    speed = pd.read_csv(RESULTS / "aid_scenes_speed.csv")
    assert readme == summary.with_table(readme, summary.render_table(*recorded, speed))


def test_every_finished_run_has_its_items(recorded: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, items = recorded
    done = runs[runs["status"] == "done"]
    assert len(done)
    for row in done.itertuples():
        chosen = items[
            (items["arm"] == row.arm)
            & (items["scheme"] == row.scheme)
            & (items["fold"] == row.fold)
        ]
        assert chosen["correct"].mean() == pytest.approx(row.accuracy)
        assert chosen["map@r"].mean() == pytest.approx(row.map_at_r)


def test_nobody_is_predicted_twice(recorded: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    _, items = recorded
    assert not items.duplicated(["arm", "scheme", "path"]).any()


def test_fold_sums_pair_arms_by_image() -> None:
    """The paired table is built per block, whatever the order of the rows."""
    table = pd.DataFrame(
        {
            "arm": "a",
            "scheme": "blocked",
            "fold": [0] * 6,
            "path": list("abcdef"),
            "group": ["g1", "g2"] * 3,
            "correct": [True, False, True, True, True, False],
        }
    )
    mixed = table.sample(frac=1.0, random_state=1)
    (plain,) = summary.fold_sums(table, "a", "blocked", "correct")
    (other,) = summary.fold_sums(mixed, "a", "blocked", "correct")
    np.testing.assert_array_equal(plain, [[3.0, 3.0], [1.0, 3.0]])
    np.testing.assert_array_equal(plain, other)
