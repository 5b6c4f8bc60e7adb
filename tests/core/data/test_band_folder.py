"""A folder of single-band TIFFs is one image wherever a file is."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling

from fixtures.layouts import BIGEARTHNET, write_patch
from fixtures.scenes import texture, write_geotiff
from likeness.data.band_folder import is_pack, pack, to_finest, unpack
from likeness.data.checks import check
from likeness.data.decode import DecodeError, decode, decode_full, read_bytes
from likeness.data.tables import read_table


def test_bands_in_the_order_of_their_names_on_the_finest_grid(tmp_path):
    folder = write_patch(tmp_path / "S2A_0_45", 0, pixels=24)
    (folder / "notes.json").write_text("{}")
    (folder / ".hidden.tif").write_bytes(b"x")
    decoded = decode_full(folder)
    assert decoded.pixels_HWC.shape == (24, 24, 12)
    assert decoded.pixels_HWC.dtype == np.uint16
    assert decoded.names == tuple(sorted(BIGEARTHNET))
    assert decoded.names[-1] == "B8A"
    for place, name in enumerate(decoded.names):
        with rasterio.open(folder / f"S2A_0_45_{name}.tif") as band:  # GDAL resamples: the oracle
            wanted = band.read(1, out_shape=(24, 24), resampling=Resampling.nearest)
        np.testing.assert_array_equal(decoded.pixels_HWC[..., place], wanted)
    np.testing.assert_array_equal(decode(folder, bands=[2, 1]), decoded.pixels_HWC[..., [1, 0]])
    assert decode(folder, bands=[12, 1]).shape == (
        12,
        12,
        2,
    )  # nothing finer than 20 m is asked for
    np.testing.assert_array_equal(decode(read_bytes(folder)), decoded.pixels_HWC)


def test_equal_files_give_equal_bytes_and_a_changed_pixel_does_not(tmp_path):
    first, second = (write_patch(tmp_path / str(n) / "S2_0_0", 0, pixels=12) for n in (1, 2))
    assert read_bytes(first) == read_bytes(second)
    write_geotiff(second / "S2_0_0_B02.tif", texture(5, 5, side=12, bands=1, dtype="uint16"))
    assert read_bytes(first) != read_bytes(second)


def test_bytes_there_and_back_and_broken(tmp_path):
    (tmp_path / "a_B1.tif").write_bytes(b"one")
    (tmp_path / "a_B2.tif").write_bytes(b"")
    data = pack(tmp_path, 100)
    assert is_pack(data)
    assert unpack(data) == [("B1", b"one"), ("B2", b"")]
    for broken in (data[:-1], data + b"x", data[:23], data[:30], data.replace(b"3]", b"9]")):
        with pytest.raises(ValueError, match="a broken list of bands"):
            unpack(broken)
        with pytest.raises(DecodeError, match="a broken list of bands"):
            decode(broken)
    with pytest.raises(ValueError, match="larger than"):
        pack(tmp_path, 2)


def test_what_is_wrong_with_a_band_names_it(tmp_path):
    folder = write_patch(tmp_path / "p_0", 0, pixels=12)
    with pytest.raises(DecodeError, match="band 13 where the file has 12"):
        decode(folder, bands=[13])
    file = folder / "p_0_B02.tif"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DecodeError, match="band B02: broken or truncated"):
        decode(folder)
    file.unlink()
    write_geotiff(file, texture(0, 0, side=12, bands=3))
    with pytest.raises(DecodeError, match="file B02 of a folder of bands holds more than one"):
        decode(folder)


@pytest.mark.parametrize("same", [True, False])
def test_no_data_of_one_band_stays_in_its_band(tmp_path, same):
    image = np.full((4, 4, 1), 7, np.uint16)
    image[0, 0] = 0
    write_geotiff(tmp_path / "f" / "a_1.tif", image, nodata=0)
    write_geotiff(tmp_path / "f" / "a_2.tif", image[:2, :2], nodata=0 if same else None)
    decoded = decode_full(tmp_path / "f")
    measured = decoded.measured_HWC
    assert np.isnan(measured[0, 0, 0])
    assert np.isnan(measured[..., 1]).sum() == (4 if same else 0)
    assert np.isnan(measured[..., 0]).sum() == 1


def test_one_file_alone_and_grids_that_do_not_divide(tmp_path):
    write_geotiff(tmp_path / "only_B4.tif", texture(0, 0, side=8, bands=1))
    assert decode_full(tmp_path).pixels_HWC.shape == (8, 8, 1)
    coarse = np.arange(2).reshape(2, 1, 1)
    fine = to_finest([coarse, np.zeros((5, 3, 1), int)])
    # The centres of 5 rows lie at 0.2, 0.6, 1.0, 1.4, 1.8 of 2: the third is on the edge.
    assert fine[..., 0].tolist() == [[0] * 3, [0] * 3, [1] * 3, [1] * 3, [1] * 3]


def test_a_table_may_name_folders(tmp_path):
    for number in range(4):
        write_patch(tmp_path / f"patch_{number}", number, pixels=24)
    lines = [f"patch_{number},{'ab'[number % 2]}" for number in range(4)]
    (tmp_path / "t.csv").write_text("\n".join(["path,label", *lines]))
    result = check(read_table(tmp_path / "t.csv"))
    assert result.errors == ()
    assert set(result.table["bands"]) == {12}
    assert result.table["sha256"].nunique() == 4
