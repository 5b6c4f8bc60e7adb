"""Sketch to photograph: figures against loops, codes, what is excluded and refused."""

from __future__ import annotations

import numpy as np
import pytest

from likeness.errors import UserError
from likeness.evaluation.cross_modal import (
    cross_modal,
    cross_modal_codes,
    metrics_of,
    require_unseen,
)
from likeness.evaluation.intervals import retrieval_intervals
from likeness.evaluation.ranking import RelevantRanks, average_precision, interpolated_precision

CLASSES, SKETCHES, PHOTOS = 6, 5, 30


def planted(*, gap: float = 0.0, noise: float = 0.6, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Clouds in 80 dimensions; sketches are moved aside by `gap`."""
    generator = np.random.default_rng(seed)
    centres, aside = generator.normal(size=(CLASSES, 80)), generator.normal(size=80)
    asked = np.repeat([f"c{c}" for c in range(CLASSES)], SKETCHES)
    held = np.repeat([f"c{c}" for c in range(CLASSES)], PHOTOS)
    queries = centres.repeat(SKETCHES, 0) + noise * generator.normal(size=(len(asked), 80))
    gallery = centres.repeat(PHOTOS, 0) + noise * generator.normal(size=(len(held), 80))
    return queries + gap * aside, asked, gallery, held


def voc(hits: np.ndarray) -> float:
    """Area under precision, at each recall the best at it or beyond."""
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(np.mean([precision[place:].max() for place in np.flatnonzero(hits)]))


def test_figures_are_the_definitions() -> None:
    queries, asked, gallery, held = planted(noise=2.5)
    found = cross_modal(queries, asked, gallery, held)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, gallery)]
    for query in range(len(asked)):
        order = np.argsort(-(unit[1] @ unit[0][query]), kind="stable")
        hits = held[order] == asked[query]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        values = {
            "map": precision[hits].mean(),
            "map_interpolated": voc(hits),
            "precision@100": hits[:100].mean(),
            "r_precision": hits[:PHOTOS].mean(),
        }
        for name, value in values.items():
            assert found.per_query[name][query] == pytest.approx(value), name


def test_interpolation_never_lowers_and_keeps_queries_apart() -> None:
    generator = np.random.default_rng(1)
    hits = generator.random((7, 40)) < 0.3
    hits[3] = False
    query, place = np.nonzero(hits)
    ranks = RelevantRanks(query, place + 1, hits.sum(1))
    found, plain = interpolated_precision(ranks), average_precision(ranks)
    assert np.isnan(found[3])
    kept = np.arange(7) != 3
    assert (found[kept] >= plain[kept]).all()
    np.testing.assert_allclose(found[kept], [voc(row) for row in hits[kept]])


def test_a_small_gallery_has_a_smaller_depth() -> None:
    assert metrics_of(30) == ("map", "map_interpolated", "precision@30", "r_precision")
    assert "precision@100" in metrics_of(100)


def test_codes_keep_most_of_the_ranking() -> None:
    queries, asked, gallery, held = planted()
    training = np.concatenate(planted(seed=1)[::2])
    plain = cross_modal(queries, asked, gallery, held).values()["map"].value
    coded = cross_modal_codes(queries, asked, gallery, held, training_ND=training)
    assert plain > 0.95
    assert coded.values()["map"].value > 0.8
    assert "64-bit ITQ codes, fitted to the training images" in coded.protocol["distance"]


def test_codes_of_the_gallery_centre_the_queries_apart() -> None:
    """A gap between the modalities as a whole is gone; that is why papers' figures may hide one."""
    sides = planted(gap=3.0)
    training = np.concatenate(planted(seed=1)[::2])
    transductive = cross_modal_codes(*sides, fit_to="gallery").values()["map"].value
    inductive = cross_modal_codes(*sides, training_ND=training).values()["map"].value
    assert transductive > 0.8 > inductive


def test_equal_distances_favour_no_class() -> None:
    """All codes are equal: in the order of the table the first class would have everything."""
    same = np.repeat(np.random.default_rng(0).normal(size=(1, 80)), 180, axis=0)
    _, asked, _, held = planted()
    training = np.random.default_rng(1).normal(size=(200, 80))
    found = cross_modal_codes(same[:30], asked, same, held, training_ND=training)
    by_class = found.per_query["map"].reshape(CLASSES, SKETCHES).mean(1)
    assert by_class.max() < 0.3


def test_what_a_sketch_was_made_from_is_left_out() -> None:
    _, _, gallery, held = planted()
    queries = gallery[::6].copy()  # each is one of the photographs
    keys = np.arange(len(gallery)), np.arange(len(gallery))[::6]
    found = cross_modal(queries, held[::6], gallery, held, exclude=[(keys[1], keys[0])])
    assert (found.relevant_Q == PHOTOS - 1).all()
    coded = cross_modal_codes(
        queries, held[::6], gallery, held, fit_to="gallery", exclude=[(keys[1], keys[0])]
    )
    assert (coded.relevant_Q == PHOTOS - 1).all()


def test_intervals_are_over_groups_of_sketches() -> None:
    queries, asked, gallery, held = planted(noise=2.0)
    found = cross_modal(queries, asked, gallery, held)
    value = retrieval_intervals(found, np.arange(len(asked)) // 2)["map"]
    assert value.low is not None
    assert value.low < value.value < value.high


def test_seen_classes_and_missing_training_images_are_refused() -> None:
    require_unseen(["a", "b"], np.array(["c"]))
    with pytest.raises(UserError, match="queries must be of classes that nobody trained on, got"):
        require_unseen(["a", "b"], np.array(["c", "b"]))
    sides = planted()
    with pytest.raises(
        UserError, match="training_ND must be given for 'training' alone, got False"
    ):
        cross_modal_codes(*sides)
    with pytest.raises(UserError, match="training_ND must be given for 'training' alone, got True"):
        cross_modal_codes(*sides, fit_to="gallery", training_ND=sides[0])
