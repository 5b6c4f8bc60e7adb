"""The generated lesions: real layouts, repeatable, several views each, not solved by colour."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fixtures.lesion_door import likeness
from likeness.data.checks import check
from likeness.errors import UserError
from likeness_apps.skin_lesion.domain import DOMAIN
from likeness_apps.skin_lesion.drawing import KINDS, draw_lesion, photograph
from likeness_apps.skin_lesion.layouts import recognise
from likeness_apps.skin_lesion.sample import SAMPLES, generator, lesion_image, write_sample

SMALL = (48, 64)


def test_isic_2017_form(tmp_path: Path) -> None:
    root = write_sample(tmp_path, per_class=20, size=SMALL)
    manifest = recognise(root)
    assert manifest.layout == "isic-2017"
    assert Counter(manifest.table["split"]) == {"train": 36, "val": 9, "test": 15}
    counts = Counter(zip(manifest.table["split"], manifest.table["label"], strict=True))
    assert {label for _, label in counts} == set(KINDS)
    assert len(set(counts.values())) == 3  # classes are equally large in each split
    assert {"unknown", "female", "male"} == set(manifest.table["sex"])
    result = check(manifest)
    assert result.errors == ()
    assert set(result.table["width"]) == {64}
    assert "Generated data" in (root / "readme.txt").read_text()
    assert "skin tones are made\nup" in (root / "readme.txt").read_text()


def test_as_many_lesions_are_drawn_as_were_asked_for(tmp_path: Path) -> None:
    ended = likeness("sample", tmp_path / "few", "--per-class", 4)
    assert ended.code == 0, ended.err
    assert len(list((tmp_path / "few").rglob("*.jpg"))) == 4 * len(KINDS)


def test_ham10000_form_has_several_images_of_a_lesion(tmp_path: Path) -> None:
    root = write_sample(tmp_path, layout="ham10000", per_class=12, size=SMALL)
    manifest = recognise(root)
    assert manifest.layout == "ham10000"
    assert manifest.classes == ["bkl", "mel", "nv"]
    sizes = manifest.table.groupby("group").size()
    assert (len(sizes), set(sizes) <= {1, 2, 3}, sizes.max() > 1) == (36, True, True)
    assert (manifest.table.groupby("group")["label"].nunique() == 1).all()
    assert check(manifest).errors == ()


def test_views_differ_and_everything_is_repeatable() -> None:
    for kind in KINDS:
        first = lesion_image(kind, 0, size=SMALL)
        assert (first.shape, first.dtype) == ((48, 64, 3), np.uint8)
        np.testing.assert_array_equal(first, lesion_image(kind, 0, size=SMALL))
        for other in (
            lesion_image(kind, 0, 1, size=SMALL),
            lesion_image(kind, 1, size=SMALL),
            lesion_image(kind, 0, seed=1, size=SMALL),
        ):
            assert (first != other).any()


def test_the_mask_is_where_the_lesion_is() -> None:
    rng = generator("mask")
    differences = []
    for number in range(20):
        image_HW3, mask_HW = photograph(draw_lesion(KINDS[number % 3], rng), rng, (96, 128))
        assert 0.02 < mask_HW.mean() < 0.7
        grey_HW = image_HW3.mean(axis=2)
        bright = np.median(grey_HW[20:-20, 30:-30][~mask_HW[20:-20, 30:-30]])
        differences.append(bright - np.median(grey_HW[mask_HW]))
    assert np.mean(differences) > 15  # pigment is darker than skin


def colours_BF(images) -> np.ndarray:
    """Square roots of an 8 x 8 x 8 histogram."""
    cells = [image.reshape(-1, 3) // 32 @ np.array([64, 8, 1]) for image in images]
    return np.sqrt([np.bincount(cell, minlength=512) / len(cell) for cell in cells])


def test_colours_alone_stay_below_sixty_percent() -> None:
    """The calibration: logistic regression on a histogram; a third is chance."""
    number = 60
    labels = np.repeat(np.arange(3), number)
    images = [lesion_image(kind, n, size=SMALL) for kind in KINDS for n in range(number)]
    table, held_out = colours_BF(images), np.arange(3 * number) % 3 == 0
    model = LogisticRegression(C=10.0, max_iter=300).fit(table[~held_out], labels[~held_out])
    assert 0.25 < model.score(table[held_out], labels[held_out]) < 0.6


@pytest.mark.plain
def test_what_cannot_be_written(tmp_path: Path) -> None:
    assert tuple(SAMPLES) == DOMAIN.samples
    with pytest.raises(UserError, match="layout must be one of isic-2017, ham10000"):
        write_sample(tmp_path, layout="ph2")
    with pytest.raises(UserError, match="per_class must be from 4 to 10000"):
        write_sample(tmp_path, per_class=3)
