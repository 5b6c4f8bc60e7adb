"""What simple features reach is measured on the splits of the experiments."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import floors  # noqa: E402
from likeness.evaluation.resampling import Bootstrap, interval, mean_of_sums  # noqa: E402


def test_the_floors_beside_the_runs_are_the_recorded_ones() -> None:
    if not floors.FLOORS.exists():
        pytest.skip("floors were not measured yet")
    written = floors.FLOORS.with_suffix(".md").read_text(encoding="utf-8")
    assert written == floors.render(floors.read_floors())


def test_the_border_sees_the_border_only() -> None:
    inside = np.zeros((96, 96, 3), np.uint8)
    inside[24:72, 24:72] = 255
    ring = np.full((96, 96, 3), 255, np.uint8)
    ring[12:84, 12:84] = 0
    assert floors.border(inside).max() == 0
    assert floors.border(ring).mean() > 0.9
    assert len(floors.border(ring)) == 3 * (32**2 - 26**2)


def test_features_tell_colours_and_textures_apart() -> None:
    generator = np.random.default_rng(0)
    rough = generator.integers(0, 255, (60, 80, 3)).astype(np.uint8)
    plain = np.full((60, 80, 3), (200, 40, 40), np.uint8)
    vectors = [floors.hand_made(image) for image in (rough, plain)]
    assert len(vectors[0]) == len(vectors[1])
    assert all(np.isfinite(vector).all() for vector in vectors)
    assert np.abs(vectors[0] - vectors[1]).sum() > 1
    assert floors.thumbnail(plain).reshape(-1, 3) == pytest.approx(
        np.tile([200 / 255, 40 / 255, 40 / 255], (256, 1)), abs=0.01
    )


def test_a_regression_is_asked_about_test_rows_only_and_trained_on_the_others() -> None:
    generator = np.random.default_rng(0)
    table = pd.DataFrame({"label": ["mel", "nv"] * 40, "group": [f"L{i // 2}" for i in range(80)]})
    features_ND = generator.normal(size=(80, 3))
    features_ND[:, 0] += 6.0 * (table["label"] == "mel")
    splits = []
    for run in range(2):
        names = np.full(80, "train", dtype=object)
        names[20 * run : 20 * run + 20] = "test"
        names[60:] = "val"
        splits.append(table.assign(split=names))
    wrong = table["label"].where(splits[0]["split"] != "test", "nv")  # of asked rows, never read
    items = floors.asked_items(features_ND, [splits[0].assign(label=wrong), splits[1]])
    assert items["run"].tolist() == [0] * 20 + [1] * 20
    said = np.where(items["p_mel"] > 0.5, "mel", "nv")
    assert (said == table["label"][:40]).mean() > 0.9
    accuracy = floors._right(items.assign(truth=said))
    assert interval(accuracy, mean_of_sums, Bootstrap(replicates=10)).value == 1.0
