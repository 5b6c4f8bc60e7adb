"""The cross-modal experiment: its jobs, its arms, and tables of made-up items."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fixtures.scenes import write_aid

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import cross_modal  # noqa: E402
import cross_modal_summary as summary  # noqa: E402
from experiments import RunTable  # noqa: E402
from likeness_apps.benchmark.cross_modal.methods import METHODS  # noqa: E402


def made_up() -> pd.DataFrame:
    """Two divisions; mathm is better than all others by a tenth."""
    generator, parts = np.random.default_rng(0), []
    for division in range(2):
        base = generator.random(60)
        for arm in cross_modal.ARMS:
            lift = 0.1 if arm == "mathm" else 0.0
            part = pd.DataFrame(dict.fromkeys(cross_modal.FIGURES, base * 0.5 + lift))
            for name in cross_modal.CODED:
                part[name] = base * 0.4 + lift
            keys = {"arm": arm, "division": division, "label": "x"}
            path = [f"p{row:02d}" for row in range(60)]
            parts.append(part.assign(**keys, path=path, group=[p[:2] for p in path]))
    return pd.concat(parts, ignore_index=True)


def test_all_arms_of_a_division_come_together() -> None:
    jobs = cross_modal.JOBS
    assert len(jobs) == len(set(jobs)) == 18
    assert [arm for arm, division in jobs[:6] if division == "0"] == list(cross_modal.ARMS)
    assert set(cross_modal.ARMS) == set(METHODS)


def test_tables_follow_from_the_items() -> None:
    runs = pd.DataFrame({"status": ["done"] * 12})
    text = summary.render(runs, made_up())
    assert "pseudo-sketches" in text
    assert "| mathm | 2 of 3 |" in text
    assert "| mathm - baseline, mAP@all | 2 | +0.1000 |" in text
    assert "12 done" in text
    empty = pd.DataFrame(columns=list(summary.COLUMNS))
    assert text.count("not run yet") == 0
    assert summary.render(runs.head(0), empty).count("not run yet") == len(cross_modal.ARMS)


def test_a_run_is_made_from_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way there, with six classes of small pictures and one epoch."""
    classes = ("Airport", "BareLand", "Beach", "Desert", "Forest", "Park")
    write_aid(tmp_path / "aid", classes=classes, per_class=24, side=40)
    monkeypatch.setenv("LIKENESS_DATA", str(tmp_path))
    own = RunTable(
        "cross_modal", cross_modal.TABLE.columns, cross_modal.TABLE.keys, tmp_path, tmp_path
    )
    monkeypatch.setattr(cross_modal, "TABLE", own)
    monkeypatch.setattr(cross_modal, "FIGURES", ("map",))
    monkeypatch.setattr(cross_modal, "CODED", ("codes_map",))
    tiny = (
        *("epochs=1", "model.image_size=32", "schedule.warmup_epochs=0"),
        "sampler={name: cross_modal, classes_per_batch: 3, per_class: 4}",
    )
    found = cross_modal.train_and_test("untrained", 0, changes=tiny)
    assert 0 < found["map"] <= 1
    assert found["images"] == 0
    items = pd.read_parquet(own.items())
    assert len(items) == 72
    assert items["map"].mean() == pytest.approx(found["map"])
    assert items["group"].nunique() == 9  # three blocks of each of three classes
