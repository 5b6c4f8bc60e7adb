"""One embedding for a set of images, against loops over the images of each set."""

import numpy as np
import pytest

from likeness.errors import UserError
from likeness.inference.blocks import Failure
from likeness.inference.sets import POOLINGS, embed_sets


class Known:
    """A model whose answer to an image is the image: D numbers, then L logits."""

    def __init__(self, *, dim=3, logits=2, batch_size=4, space="cosine"):
        self.embedding_dim, self.num_logits = dim, logits
        self.batch_size, self.space = batch_size, space
        self.calls = []

    def raw(self, prepared):
        self.calls.append(len(prepared))
        rows = np.stack(prepared).astype(np.float32)
        return rows[:, : self.embedding_dim], rows[:, self.embedding_dim :]


def stream(count=23, sets=6, seed=0, bad=()):
    rng = np.random.default_rng(seed)
    images = [
        Failure("cannot be read") if place in bad else row
        for place, row in enumerate(rng.normal(size=(count, 5)))
    ]
    return images, rng.integers(sets, size=count)


def by_hand(images, set_F, number, how):
    members = [
        image
        for image, own in zip(images, set_F, strict=True)
        if own == number and not isinstance(image, Failure)
    ]
    if not members:
        return np.full(3, np.nan), 0
    weights = np.ones(len(members))
    if how == "attention":
        for place, image in enumerate(members):
            odds = np.exp(image[3:])
            sure = max(odds / odds.sum())
            weights[place] = np.exp(-((sure - 1) ** 2) / (2 * 0.68**2))
    rows = np.array([image[:3] for image in members])
    pooled = rows.max(axis=0) if how == "max" else weights @ rows / weights.sum()
    return pooled / np.linalg.norm(pooled), len(members)


@pytest.mark.parametrize("how", POOLINGS)
def test_pooled_as_a_loop_does_it_and_bad_images_are_left_out(how):
    images, set_F = stream(bad=(3, 4, 17))
    found = embed_sets(Known(), iter(images), set_F, sets=7, how=how)
    for number in range(7):
        wanted, used = by_hand(images, set_F, number, how)
        np.testing.assert_allclose(found.embeddings_SD[number], wanted, rtol=1e-5, atol=1e-6)
        assert found.used_S[number] == used
    assert found.failures == dict.fromkeys((3, 4, 17), "cannot be read")
    assert list(found.ok_S) == [number in set_F for number in range(7)]


def test_the_mean_is_of_raw_rows_and_not_of_unit_rows():
    images = [np.array([3.0, 0, 0, 0, 0]), np.array([0, 1.0, 0, 0, 0])]
    found = embed_sets(Known(), images, np.array([0, 0]), sets=1)
    np.testing.assert_allclose(found.embeddings_SD[0], np.array([3, 1, 0]) / np.sqrt(10), rtol=1e-6)
    plain = embed_sets(Known(space="euclidean"), images, np.array([0, 0]), sets=1)
    np.testing.assert_allclose(plain.embeddings_SD[0], [1.5, 0.5, 0], rtol=1e-6)


@pytest.mark.parametrize("how", POOLINGS)
def test_neither_batches_nor_order_matter(how):
    images, set_F = stream()
    whole = embed_sets(Known(batch_size=100), images, set_F, sets=6, how=how)
    order = np.random.default_rng(1).permutation(len(images))
    other = [images[place] for place in order]
    again = embed_sets(Known(batch_size=1), other, set_F[order], sets=6, how=how)
    np.testing.assert_allclose(whole.embeddings_SD, again.embeddings_SD, rtol=1e-5, atol=1e-6)


def test_only_a_batch_of_images_is_asked_for_at_a_time():
    images, set_F = stream(count=9)
    taken, model = [], Known(batch_size=4)
    told = []

    def one_by_one():
        for place, image in enumerate(images):
            assert place < 4 * (len(model.calls) + 1)
            taken.append(place)
            yield image

    def note(done, total):
        told.append((done, total))

    embed_sets(model, one_by_one(), set_F, sets=6, on_progress=note)
    assert model.calls == [4, 4, 1]
    assert told == [(4, 9), (8, 9), (9, 9), (9, 9)]


def test_sets_without_a_direction_and_answers_that_are_not_finite():
    images = [np.zeros(5), np.array([np.nan, 0, 0, 0, 0]), np.ones(5)]
    found = embed_sets(Known(), images, np.array([0, 1, 2]), sets=3)
    assert list(found.ok_S) == [False, False, True]
    assert found.failures == {1: "the model's answer is not finite"}
    assert list(found.used_S) == [1, 0, 1]


@pytest.mark.plain
def test_bad_options_are_one_sentence():
    images, set_F = stream()
    with pytest.raises(UserError, match="how must be one of mean, max, attention, got 'median'"):
        embed_sets(Known(), images, set_F, sets=6, how="median")
    without = Known(dim=5, logits=0)
    with pytest.raises(UserError, match="how must be mean or max for a model without a class"):
        embed_sets(without, images, set_F, sets=6, how="attention")
