"""One model, two cameras and one index that all tests here share; read only."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fixtures.front_door import likeness
from fixtures.people_archive import STATED, means, thresholds, write_model, write_walkers


@dataclass(frozen=True)
class Scene:
    """Queries of camera a, a gallery of camera b, and a model with thresholds among their scores.

    Attributes:
        model: a bundle.
        queries: one tracklet of each person.
        gallery: two tracklets of each person.
        scores: (query, gallery) -> minus the distance, by loops.
        same_from: threshold.
        different_below: threshold.
    """

    model: Path
    queries: Path
    gallery: Path
    scores: dict[str, dict[str, float]]
    same_from: float
    different_below: float


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    root = tmp_path_factory.mktemp("people")
    queries = write_walkers(root / "queries", {"cam-a": 1})
    gallery = write_walkers(root / "gallery", {"cam-b": 2})
    bare = write_model(root / "bare")
    asking, answering = means(bare, queries), means(bare, gallery)
    scores = {
        query: {name: -float(np.sqrt(((one - two) ** 2).sum())) for name, two in answering.items()}
        for query, one in asking.items()
    }
    every = sorted(score for row in scores.values() for score in row.values())
    third = len(every) // 3
    different_below, same_from = (every[third] + every[third - 1]) / 2, (every[-6] + every[-7]) / 2
    model = write_model(root / "model", thresholds(same_from, different_below))
    return Scene(model, queries, gallery, scores, same_from, different_below)


@pytest.fixture(scope="session")
def kept(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the gallery with small pictures."""
    out = tmp_path_factory.mktemp("archive") / "kept"
    words = ("index", scene.model, scene.gallery, "--out", out, *STATED, "--include-images")
    ended = likeness(*words, application="person-reid")
    assert ended.code == 0, ended.err
    return out


@pytest.fixture
def copied(kept: Path, tmp_path: Path) -> Path:
    """A copy of the index that a test may replace (its files are links: never write into them)."""
    return Path(shutil.copytree(kept, tmp_path / "copied", copy_function=os.link))
