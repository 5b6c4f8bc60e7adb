"""A small generated set and one run on it, which all tests of a session share and none changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.people_door import likeness, small
from likeness_apps.person_reid.sample import write_sample


@pytest.fixture(scope="session")
def walkers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve people, six of them tested, in the layout of MARS."""
    return write_sample(tmp_path_factory.mktemp("walkers"), people=12, size=(32, 16))


@pytest.fixture(scope="session")
def walkers_run(walkers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    out = tmp_path_factory.mktemp("runs") / "walkers"
    ended = likeness("train", walkers, "--out", out, *small())
    assert ended.code == 0, ended.err
    return out


@pytest.fixture(scope="session")
def walkers_result(
    walkers: Path, walkers_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Its evaluation under the official protocol of MARS."""
    out = tmp_path_factory.mktemp("results") / "official"
    asked = ("--protocol", "mars-official", "--out", out)
    ended = likeness("evaluate", walkers_run, walkers, *asked)
    assert ended.code == 0, ended.err
    return out
