"""Two scenes and an archive of their chips, which no test changes; windows for small maps."""

import pytest

from fixtures.placed_scenes import TURNED, mosaic, write_scene
from likeness_apps.remote_sensing import reference_pixels
from likeness_apps.remote_sensing.archive import index_chips
from likeness_apps.remote_sensing.domain import DOMAIN


@pytest.fixture(scope="session")
def two_scenes(tmp_path_factory):
    """One in the north-up grid of one zone, one turned in the next zone."""
    top = tmp_path_factory.mktemp("scenes") / "scenes"
    write_scene(top / "a.tif", mosaic(100, 140))
    write_scene(top / "b.tif", mosaic(70, 64, seed=7000), crs="EPSG:32633", transform=TURNED)
    return top


@pytest.fixture(scope="session")
def chips(run, two_scenes, tmp_path_factory):
    """An index of both, chips of 32 pixels every 24."""
    out = tmp_path_factory.mktemp("chips") / "index"
    return index_chips(DOMAIN, run, two_scenes, out, chip=32, stride=24, quiet=True)


@pytest.fixture
def small_windows(monkeypatch):
    """So that a reference reads even small maps in several windows."""
    monkeypatch.setattr(reference_pixels, "BLOCK", 32)
