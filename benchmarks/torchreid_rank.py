"""torchreid's distance and ranking functions, from an unpacked release that is not installed.

Only two files of it are run, so none of its other requirements is needed. Its fast evaluation is a
Cython extension that users build themselves; it is used if a built `rank_cy` lies in the folder.
"""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Peer:
    """torchreid's evaluation.

    Attributes:
        version: name and version, "(Cython)" or "(Python)" with it.
        evaluate: (distances, query ids, gallery ids, query cameras, gallery cameras, max_rank=K)
            -> CMC, mAP.
        distance: (tensor, tensor, metric) -> tensor.
    """

    version: str
    evaluate: Callable[..., tuple[np.ndarray, float]]
    distance: Callable[..., Any]

    def distances(self, query_QD: np.ndarray, gallery_GD: np.ndarray) -> np.ndarray:
        """Cosine distances as torchreid computes them, float32 (Q, G)."""
        import torch

        found = self.distance(torch.from_numpy(query_QD), torch.from_numpy(gallery_GD), "cosine")
        return np.asarray(found.numpy())


def load(folder: Path, *, cython: bool) -> Peer:
    """The evaluation of an unpacked torchreid.

    Args:
        folder: holds .../metrics/rank.py, distance.py and, for `cython`, a built rank_cy.
        cython: take the Cython evaluation.

    Raises:
        SystemExit: if a file is missing.
    """
    rank = _one(folder, "metrics/rank.py")
    version = _version(rank)
    distance = _module("torchreid_distance", rank.with_name("distance.py"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the Cython evaluation cannot be imported from here
        python = _module("torchreid_rank_py", rank)
    evaluate: Callable[..., Any] = python.eval_market1501
    if cython:
        evaluate = _module("rank_cy", _one(folder, f"rank_cy*{EXTENSION_SUFFIXES[0]}")).evaluate_cy
    kind = "Cython" if cython else "Python"
    return Peer(f"torchreid {version} ({kind})", evaluate, distance.compute_distance_matrix)


def has_cython(folder: Path) -> bool:
    """Whether somebody built the Cython evaluation there."""
    return any(folder.rglob(f"rank_cy*{EXTENSION_SUFFIXES[0]}"))


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.rglob(pattern))
    if not found:
        raise SystemExit(f"--torchreid must be a folder with {pattern}, got {folder}")
    return found[0]


def _version(rank: Path) -> str:
    for parent in rank.parents:
        start = parent / "torchreid" / "__init__.py"
        if start.is_file():
            found = re.search(r"__version__ = ['\"](.+?)['\"]", start.read_text(encoding="utf-8"))
            return found[1] if found else "of unknown version"
    return "of unknown version"


def _module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
