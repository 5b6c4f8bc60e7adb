"""The tables of the AID experiment follow from its recorded runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import aid_scenes  # noqa: E402
import aid_scenes_summary as summary  # noqa: E402


@pytest.fixture(scope="module")
def scenes() -> tuple[pd.DataFrame, pd.DataFrame]:
    return aid_scenes.TABLE.read(), pd.read_parquet(aid_scenes.TABLE.items())


def test_readme_and_summary_show_the_recorded_runs(
    scenes: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    head = summary.render_table(*scenes, pd.read_csv(aid_scenes.SPEED))
    assert readme == summary.BLOCK.within(readme, head)
    assert summary.SUMMARY.read_text(encoding="utf-8") == summary.render(*scenes, head)


def test_every_finished_run_has_its_items(scenes: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, items = scenes
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


def test_nobody_is_predicted_twice(scenes: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    _, items = scenes
    assert not items.duplicated(["arm", "scheme", "path"]).any()
