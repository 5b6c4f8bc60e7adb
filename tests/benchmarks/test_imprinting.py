"""The experiment on imprinting: who is old and new, what a shot is, and which cells there are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fixtures.scenes import write_aid

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import imprinting

CLASSES = ("Airport", "BareLand", "Beach", "Bridge")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Four classes of twelve, of which two are old; three shots."""
    write_aid(tmp_path, CLASSES, per_class=12, side=16).rename(tmp_path / "aid")
    monkeypatch.setenv("LIKENESS_DATA", str(tmp_path))
    monkeypatch.setattr(imprinting, "OLD", 2)
    monkeypatch.setattr(imprinting, "SHOT_POOL", 3)
    return tmp_path


def test_shots_are_no_test_images_and_hold_the_fewer(data):
    manifest = imprinting.drawn(0)
    table = manifest.table
    assert table.groupby("role")["label"].nunique().to_dict() == {"new": 2, "old": 2}
    assert set(table[table["shot"] >= 0]["split"]) == {""}
    assert set(table[(table["role"] == "new") & (table["shot"] < 0)]["split"]) == {"test"}
    old = table[table["role"] == "old"]
    assert old["split"].value_counts().to_dict() == {"train": 16, "test": 6, "val": 2}
    few, more = (dict(imprinting.shots_of(manifest, shots)) for shots in (1, 3))
    for label in few:
        assert set(few[label]["path"]) < set(more[label]["path"])
        assert len(more[label]) == 3


def test_draws_differ_and_repeat(data):
    first, again, other = (imprinting.drawn(draw).table for draw in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)


def test_one_shot_is_not_fine_tuned():
    found = imprinting.cells(("2",))
    assert ("2", "1", "no", "averaged") in found
    assert ("2", "1", "yes", "averaged") not in found
    assert len(found) == len(set(found)) == (2 * len(imprinting.SHOTS) - 1) * len(imprinting.ARMS)
