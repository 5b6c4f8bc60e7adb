"""One small model, and its directory."""

import shutil

import pytest
import torch

from fixtures.bundles import parts, readouts, small_embedder
from likeness.bundle import save_bundle


@pytest.fixture(scope="module")
def trained():
    embedder = small_embedder()
    embedder(torch.randn(4, 3, 32, 32))  # running statistics move away from their start
    return embedder


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "model"
    save_bundle(path, trained, **parts(trained), **readouts())
    return path


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")
