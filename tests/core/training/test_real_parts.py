"""The loop with the real network and the real images in place of the tiny stand-ins."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from fixtures.tiny_training import CLASSES, LABELS, ROWS, tiny_spec
from fixtures.watched_runs import Stop, StoppedAfter
from likeness.data.augmentation import Augmentation
from likeness.data.dataset import ImageRows
from likeness.data.transforms import Preprocessing
from likeness.models import build_embedder
from likeness.objective import build_objective
from likeness.sampling import build_plan
from likeness.training import TrainingData, fit

PREPROCESSING = Preprocessing(size=32, mean=[0.5] * 3, std=[0.25] * 3)
MODEL = {"backbone": "resnet18", "image_size": 32, "embedding_dim": 8}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for row in range(ROWS):
        pixels = generator.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{row}.png")
    names = [f"{row}.png" for row in range(ROWS)]
    return ImageRows(folder, names, PREPROCESSING, augmentation=Augmentation(), seed=5)


def run(folder, images, spec, **options):
    torch.manual_seed(spec.seed)
    embedder = build_embedder(spec.model, num_classes=CLASSES)
    objective = build_objective(spec.objective, num_classes=CLASSES, dims={"embedding": 8})
    data = TrainingData(images, LABELS, names=images.paths, hash="x")
    plan = build_plan(spec.sampler, LABELS.numpy(), seed=spec.seed)
    fit(folder, spec, embedder, objective, data, plan, quiet=True, **options)
    return {**embedder.state_dict(), **objective.state_dict()}


def test_a_resumed_run_is_exact_with_and_without_workers(tmp_path, images):
    spec = tiny_spec(epochs=1, model=MODEL, optimiser={"name": "adamw", "lr": 0.01})
    whole = run(tmp_path / "whole", images, spec)
    cut = partial(StoppedAfter, steps=2)
    with pytest.raises(Stop):
        run(tmp_path / "cut", images, spec, method=cut, checkpoint_steps=1)
    helped = spec.model_copy(update={"workers": 2})
    resumed = run(tmp_path / "cut", images, helped, resume=True)
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name
