"""The experiment on imprinting: its rows, and its tables from planted rows."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from fixtures.scenes import write_aid
from likeness_apps.benchmark.low_shot import run

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import imprinting

TINY = (
    *("epochs=3", "workers=0", "model.image_size=32", "model.embedding_dim=8"),
    "sampler={name: class_balanced, classes_per_batch: 3, per_class: 2}",
)


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Six classes of eight, of which four are base; tables of its own."""
    classes = ("Airport", "BareLand", "Beach", "Bridge", "Desert", "Forest")
    write_aid(tmp_path, classes, per_class=8, side=16).rename(tmp_path / "aid")
    monkeypatch.setenv("LIKENESS_DATA", str(tmp_path))
    monkeypatch.setattr(imprinting, "CHANGES", TINY)
    monkeypatch.setattr(imprinting, "SHOTS", (1, 2))
    monkeypatch.setattr(imprinting, "RESULTS", tmp_path / "results")
    own = replace(imprinting.TABLE, results=tmp_path / "results", runs=tmp_path / "runs")
    monkeypatch.setattr(imprinting, "TABLE", own)
    return own


def test_the_protocol_is_the_commands():
    assert imprinting.SHOTS == run.SHOTS
    assert imprinting.METHODS == run.METHODS
    assert imprinting.rows(("2",)) == [("2", method) for method in run.METHODS]


def test_a_draw_and_its_tables(table, capsys):
    imprinting.run_draw("0")
    found = table.read()
    assert found["method"].tolist() == list(run.METHODS)
    assert set(found["status"]) == {"done"}
    assert found[["novel_accuracy@2", "base_accuracy@1"]].stack().between(0, 1).all()
    assert found["novel_accuracy@5"].isna().all()
    imprinting.run_draw("0")  # nothing is left to do
    assert len(table.read()) == len(run.METHODS)
    other = found.assign(draw=1)
    other.loc[other["method"] == "averaged", ["novel_accuracy@2", "base_accuracy@2"]] = (0.5, 0.25)
    found.loc[found["method"] == "averaged", ["novel_accuracy@2", "base_accuracy@2"]] = (1.0, 1.0)
    pd.concat([found, other]).to_csv(table.path, index=False)
    imprinting.summary()
    told = capsys.readouterr().out
    cells = ("75.0 (50.0 to 100.0)", "62.5 (25.0 to 100.0)", "66.7 (33.3 to 100.0)")
    assert f"| 2 | averaged | {' | '.join(cells)} |" in told
    nearest = 100 * found.set_index("method")["novel_accuracy@2"]["nearest"]
    gaps = f"{100 - nearest:+.1f}, {50 - nearest:+.1f}"
    assert f"- 2 shown, before fine-tuning: {gaps}" in told
