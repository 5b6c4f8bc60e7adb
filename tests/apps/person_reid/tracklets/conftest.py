"""One small video, which no test changes, and the boxes in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.cut_tracks import COUNT
from fixtures.videos import mot_lines, write_mot, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty frames, a key frame in ten; read only."""
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4", COUNT)


@pytest.fixture
def mot(tmp_path: Path) -> Path:
    """The true boxes."""
    return write_mot(tmp_path / "boxes.txt", mot_lines(COUNT))
