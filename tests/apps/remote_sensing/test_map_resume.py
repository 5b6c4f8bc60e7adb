"""Killed at any moment, the same command finishes and the pixels are the same."""

import os
import signal
from contextlib import contextmanager

import numpy as np
import pytest
import rasterio

from fixtures.mapping import LinearModel, mosaic, read, write_scene
from likeness.errors import UserError
from likeness_apps.remote_sensing.geopackage import read_polygons
from likeness_apps.remote_sensing.mapping import journal, rasters, run
from likeness_apps.remote_sensing.mapping.run import make_map


@pytest.fixture
def scene(tmp_path):
    pixels = mosaic(100, 70)
    pixels[:, 20:50, 10:40] = 0
    return write_scene(tmp_path / "scene.tif", pixels, nodata=0)


def everything(folder):
    return {
        "map": read(folder / "map.tif"),
        "probabilities": read(folder / "p.tif"),
        "chips": (folder / "chips.gpkg").read_bytes(),
        "names": (folder / "map.tif.aux.xml").read_bytes(),
    }


def make_all(model, scene, folder, **options):
    paths = {"probabilities": folder / "p.tif", "gpkg": folder / "chips.gpkg"}
    return make_map(model, scene, folder / "map.tif", **{"stride": 5, **paths, **options})


class Breaks(LinearModel):
    """Does something bad in the middle of the work."""

    def __init__(self, harm):
        super().__init__()
        self.harm = harm

    def answer(self, prepared):
        if len(self.calls) == 15:
            self.harm()
        return super().answer(prepared)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("moment", ["in the network", "after the rasters"])
def test_a_killed_map_goes_on_where_it_was(scene, tmp_path, monkeypatch, moment):
    monkeypatch.setattr(run, "PART_BATCHES", 2)
    child = os.fork()
    if child == 0:
        try:
            if moment == "after the rasters":
                run.write_names = die
            model = Breaks(die) if moment == "in the network" else LinearModel()
            make_all(model, scene, tmp_path)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not (tmp_path / "map.tif").exists()
    model, other = LinearModel(), LinearModel()
    done = make_all(model, scene, tmp_path)
    whole = make_all(other, scene, tmp_path / "whole")
    assert done.resumed > 0
    assert sum(model.calls) < sum(other.calls)
    assert (done.answered, done.windows) == (whole.answered, whole.windows)
    for name, wanted in everything(tmp_path / "whole").items():
        np.testing.assert_array_equal(everything(tmp_path)[name], wanted, err_msg=name)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"scene.tif", "map.tif", "map.tif.aux.xml", "p.tif", "chips.gpkg", "whole"}


def stopped(scene, folder, monkeypatch, **options):
    """Begin a map and stop it after some parts."""

    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "PART_BATCHES", 2)
    with pytest.raises(KeyboardInterrupt):
        make_all(Breaks(stop), scene, folder, **options)


def test_a_part_does_not_depend_on_the_blend(scene, tmp_path, monkeypatch):
    stopped(scene, tmp_path, monkeypatch)
    done = make_all(LinearModel(), scene, tmp_path, blend="gaussian")
    assert done.resumed > 0
    make_all(LinearModel(), scene, tmp_path / "whole", blend="gaussian")
    np.testing.assert_array_equal(read(tmp_path / "p.tif"), read(tmp_path / "whole" / "p.tif"))


@pytest.mark.parametrize("what", ["stride", "model", "scene", "batch size"])
def test_parts_of_other_work_are_refused(scene, tmp_path, monkeypatch, what):
    stopped(scene, tmp_path, monkeypatch)
    model, options = LinearModel(batch_size=4 if what == "batch size" else 8), {}
    if what == "stride":
        options["stride"] = 8
    if what == "model":
        model.model_id = "another"
    if what == "scene":
        os.utime(scene, ns=(1, 1))
    with pytest.raises(UserError, match=f"parts begun with {what} .*") as caught:
        make_all(model, scene, tmp_path, **options)
    assert "remove" in str(caught.value)
    assert model.calls == []


def test_a_finished_map_is_not_overwritten(scene, tmp_path):
    make_all(LinearModel(), scene, tmp_path)
    with pytest.raises(UserError, match="out must be the name of a file that is not there yet"):
        make_all(LinearModel(), scene, tmp_path)
    with pytest.raises(UserError, match=r"not there yet, got .*chips\.gpkg"):
        make_map(LinearModel(), scene, tmp_path / "b.tif", gpkg=tmp_path / "chips.gpkg")
    assert not (tmp_path / "b.tif.parts").exists()


def test_two_processes_do_not_write_one_map(scene, tmp_path):
    with (
        journal.open_journal(tmp_path / "map.tif", (), {}),
        pytest.raises(UserError, match="which another process writes"),
        journal.open_journal(tmp_path / "map.tif", (), {}),
    ):
        pass


def test_a_full_disk_keeps_what_is_finished(scene, tmp_path, monkeypatch):
    class FullDisk:
        """A data set that takes three tiles."""

        def __init__(self, dataset):
            self.dataset, self.left = dataset, 3

        def write(self, *args, **options):
            self.left -= 1
            if self.left < 0:
                raise rasterio.errors.RasterioIOError("No space left on device")
            self.dataset.write(*args, **options)

        def __getattr__(self, name):
            return getattr(self.dataset, name)

    created = rasters._created

    @contextmanager
    def limited(*args):
        with created(*args) as dataset:
            yield FullDisk(dataset)

    for module in (rasters, run):
        monkeypatch.setattr(module, "TILE", 32)
    with monkeypatch.context() as full:
        full.setattr(rasters, "_created", limited)
        with pytest.raises(UserError, match=r"out must be on a disk with free space .* to go on"):
            make_all(LinearModel(), scene, tmp_path)
    assert not (tmp_path / "map.tif").exists()
    assert make_all(LinearModel(), scene, tmp_path).resumed > 0


@pytest.mark.parametrize("compress", ["deflate", None])
def test_a_broken_tile_costs_its_own_pixels_only(tmp_path, capsys, compress):
    """Its block is no data, named, and the exit code is 1; the windows around use the rest."""
    pixels = mosaic(130, 70)
    options = {} if compress is None else {"compress": compress}
    whole = write_scene(tmp_path / "whole.tif", pixels, nodata=0, **options)
    broken = tmp_path / "broken.tif"
    offset, count = block_bytes(whole, 1, 2)
    data = bytearray(whole.read_bytes())
    if compress is None:
        broken.write_bytes(data[: offset + count // 2])  # cut off: tiles from here on are gone
    else:
        data[offset : offset + count] = b"\xff" * count
        broken.write_bytes(data)
    lost = unreadable_pixels(broken, pixels.shape[1:])
    assert 0 < lost.mean() < 0.6
    model = LinearModel()
    done = make_map(model, broken, tmp_path / "map.tif")
    assert done.exit_code == 1
    assert (32, 64, 32, 32) in done.unreadable
    np.testing.assert_array_equal(read(tmp_path / "map.tif")[0] == 255, lost)
    filled = pixels.copy()
    filled[:, lost] = 0
    holed = write_scene(tmp_path / "holed.tif", filled, nodata=0)
    make_map(LinearModel(), holed, tmp_path / "wanted.tif")
    np.testing.assert_array_equal(read(tmp_path / "map.tif"), read(tmp_path / "wanted.tif"))


def block_bytes(path, column, row):
    """Where the file holds a block: GDAL tells."""
    with rasterio.open(path) as dataset:
        offset = dataset.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", 1)
        return int(offset), int(dataset.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", 1))


def unreadable_pixels(path, shape):
    """Block by block, whether GDAL gives its pixels."""
    lost = np.zeros(shape, bool)
    with rasterio.open(path) as dataset:
        for _, window in dataset.block_windows(1):
            try:
                dataset.read(window=window)
            except rasterio.errors.RasterioIOError:
                lost[window.toslices()] = True
    return lost


def test_the_outlines_are_those_of_one_go(scene, tmp_path, monkeypatch):
    """Written part by part or all at once."""
    make_all(LinearModel(), scene, tmp_path / "one")
    monkeypatch.setattr(run, "PART_BATCHES", 1)
    make_all(LinearModel(), scene, tmp_path / "many")
    one, _, _ = read_polygons(tmp_path / "one" / "chips.gpkg", "label")
    many, _, _ = read_polygons(tmp_path / "many" / "chips.gpkg", "label")
    assert len(one) == len(many) > 100
    assert all(a.equals(b) for a, b in zip(one, many, strict=True))
