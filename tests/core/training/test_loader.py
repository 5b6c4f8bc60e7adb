import multiprocessing
from contextlib import closing

import numpy as np
import pytest
import torch

from fixtures.tiny_training import TinyImages
from likeness.errors import UserError
from likeness.training.loader import BatchLoader

CPU = torch.device("cpu")
BATCHES = [[(row, step, slot) for slot, row in enumerate((step, 5, 9))] for step in range(7)]


class Unreadable(TinyImages):
    def __getitem__(self, item):
        if item[0] == 4:
            raise UserError("image must be readable, got scene04.png: truncated")
        return super().__getitem__(item)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_and_again(workers):
    images = TinyImages()
    expected = [torch.stack([images[item][0] for item in batch]) for batch in BATCHES]
    with closing(BatchLoader(images, workers=workers, device=CPU)) as loader:
        for wanted in (slice(0, 7), slice(3, 5), slice(0, 0), slice(6, 7)):
            found = list(loader(BATCHES[wanted]))
            assert len(found) == len(expected[wanted])
            assert all(map(torch.equal, found, expected[wanted]))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_global_generators_are_left_alone(workers):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    with closing(BatchLoader(TinyImages(), workers=workers, device=CPU)) as loader:
        list(loader(BATCHES))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_one_sentence(workers):
    loader = BatchLoader(Unreadable(), workers=workers, device=CPU)
    with closing(loader), pytest.raises(UserError) as caught:
        list(loader(BATCHES))
    assert str(caught.value) == "image must be readable, got scene04.png: truncated"


def test_close_ends_the_workers():
    before = set(multiprocessing.active_children())
    loader = BatchLoader(TinyImages(), workers=2, device=CPU)
    batches = loader(BATCHES)
    next(batches)
    started = set(multiprocessing.active_children()) - before
    assert started
    loader.close()
    assert not any(worker.is_alive() for worker in started)
