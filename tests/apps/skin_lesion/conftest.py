"""Small generated sets and one run on each, which all tests of a session share and none changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.lesion_door import likeness, small
from likeness_apps.skin_lesion.sample import write_sample

SIZE = (48, 64)


@pytest.fixture(scope="session")
def ham(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of ten lesions in the layout of HAM10000."""
    top = tmp_path_factory.mktemp("ham")
    return write_sample(top, layout="ham10000", per_class=10, size=SIZE)


@pytest.fixture(scope="session")
def isic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of twelve lesions in the layout of ISIC 2017."""
    top = tmp_path_factory.mktemp("isic")
    return write_sample(top, layout="isic-2017", per_class=12, size=SIZE)


@pytest.fixture(scope="session")
def ham_run(ham: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with splits of its own."""
    out = tmp_path_factory.mktemp("runs") / "ham"
    ended = likeness("train", ham, "--out", out, *small())
    assert ended.code == 0, ended.err
    return out


@pytest.fixture(scope="session")
def isic_run(isic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the protocol isic2017."""
    out = tmp_path_factory.mktemp("runs") / "isic"
    ended = likeness("train", isic, "--out", out, *small("data.protocol=isic2017"))
    assert ended.code == 0, ended.err
    return out
