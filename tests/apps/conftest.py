"""One run that all tests of a session share.

What a session fixture gives is read only; a test that changes it works on a copy.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fixtures.front_door import likeness, small
from fixtures.scenes import write_ucmerced

PER_CLASS = 12


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of twelve pictures in the UC Merced layout."""
    return write_ucmerced(tmp_path_factory.mktemp("data"), per_class=PER_CLASS)


@pytest.fixture(scope="session")
def run(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the protocol ucm-80."""
    out = tmp_path_factory.mktemp("runs") / "run"
    ended = likeness("train", scenes, "--out", out, *small("data.protocol=ucm-80"))
    assert ended.code == 0, ended.err
    return out


@pytest.fixture(scope="session")
def evaluated(run: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, measured on its test split."""
    out = tmp_path_factory.mktemp("results") / "test"
    assert likeness("evaluate", run, scenes, "--out", out).code == 0
    return out


@pytest.fixture(scope="session")
def archive(run: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of all scenes."""
    out = tmp_path_factory.mktemp("archives") / "archive"
    assert likeness("index", run, scenes, "--out", out).code == 0
    return out


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return Path(shutil.copytree(run, tmp_path / "copied"))
