import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fixtures.scenes import save, texture, write_geotiff
from likeness.data.decode import DecodeError, band_names, decode, decode_full, read_bytes
from likeness.errors import UserError

DATA = os.environ.get("LIKENESS_DATA")
IMAGE = texture(1, 0, side=40)[:, :32]


def encode(image, form, **options):
    buffer = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "BMP", "PPM", "TIFF"])
def test_lossless_formats_come_back_exactly(form):
    array = decode(encode(IMAGE, form))
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, IMAGE)


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "GIF", "JPEG2000"])
def test_lossy_formats_come_back_nearly(form):
    array = decode(encode(texture(0, 0, side=48) // 16 * 16, form))
    assert array.shape == (48, 48, 3)
    assert np.abs(array.astype(int) - (texture(0, 0, side=48) // 16 * 16)).mean() < 12


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "PPM", "TIFF", "GIF", "WEBP", "JPEG2000"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.985])
def test_a_truncated_file_never_gives_half_an_image(form, share):
    data = encode(texture(1, 0, side=64), form)
    with pytest.raises(DecodeError):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_jpegs_raise_at_reduced_scale_too(share):
    data = encode(texture(1, 0, side=256), "JPEG")
    with pytest.raises(DecodeError, match="truncated"):
        decode(data[: int(len(data) * share)], min_side=64)


@pytest.mark.parametrize("options", [{}, {"compress": "lzw"}, {"compress": "deflate"}])
def test_truncated_multi_band_tiffs_raise(tmp_path, options):
    import rasterio

    path = tmp_path / "a.tif"
    stack = texture(1, 0, side=64, bands=13, dtype="uint16")
    profile = {"driver": "GTiff", "height": 64, "width": 64, "count": 13, "dtype": "uint16"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", **profile, **options) as target:
            target.write(np.moveaxis(stack, -1, 0))
    data = path.read_bytes()
    np.testing.assert_array_equal(decode(data), stack)
    with pytest.raises(DecodeError, match="truncated") as caught:
        decode(data[: len(data) * 3 // 4])
    assert "vsimem" not in str(caught.value)


def test_content_decides_not_the_ending(tmp_path):
    jpeg = save(tmp_path / "a.png", IMAGE, "JPEG")
    assert decode_full(jpeg).format == "JPEG"
    tiff = save(tmp_path / "b.jpg", IMAGE, "TIFF")
    assert decode_full(tiff).format == "GTiff"
    np.testing.assert_array_equal(decode(tiff), IMAGE)


@pytest.mark.parametrize(
    ("dtype", "becomes"),
    [
        ("uint8", "uint8"),
        ("uint16", "uint16"),
        ("int16", "float32"),
        ("uint32", "float32"),
        ("float32", "float32"),
        ("float64", "float32"),
    ],
)
@pytest.mark.parametrize("bands", [1, 2, 4, 13])
def test_geotiffs_of_any_type_and_band_count(tmp_path, dtype, becomes, bands):
    values = np.arange(6 * 5 * bands).reshape(6, 5, bands).astype(dtype)
    array = decode(write_geotiff(tmp_path / "a.tif", values))
    assert array.dtype == becomes
    np.testing.assert_array_equal(array, values.astype(becomes))


def test_no_data_is_nan_in_float_images_and_reported_in_others(tmp_path):
    values = np.full((4, 4, 2), 0.5, np.float32)
    values[0, 0, 1] = -9999
    decoded = decode_full(write_geotiff(tmp_path / "f.tif", values, nodata=-9999))
    assert decoded.nodata == -9999
    assert np.argwhere(np.isnan(decoded.pixels_HWC)).tolist() == [[0, 0, 1]]
    whole = decode_full(write_geotiff(tmp_path / "u.tif", values.astype("uint16"), nodata=0))
    assert whole.nodata == 0
    assert whole.pixels_HWC.dtype == np.uint16


def test_sixteen_bit_png_keeps_its_depth(tmp_path):
    import rasterio

    deep = np.random.default_rng(0).integers(0, 65536, (3, 7, 9)).astype(np.uint16)
    path = tmp_path / "deep.png"
    profile = {"driver": "PNG", "height": 7, "width": 9, "dtype": "uint16"}
    for count in (1, 3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(path, "w", count=count, **profile) as target:
                target.write(deep[:count])
        np.testing.assert_array_equal(decode(path), np.moveaxis(deep[:count], 0, -1))
    with pytest.raises(DecodeError, match="truncated"):
        decode(path.read_bytes()[:300])


def test_palettes_alpha_grey_and_two_colours():
    palette = Image.fromarray(IMAGE).quantize(16)
    expected = np.asarray(palette.convert("RGB"))
    for form in ("PNG", "GIF", "TIFF"):
        np.testing.assert_array_equal(decode(encode(palette, form)), expected)
    rgba = np.dstack([IMAGE, np.full(IMAGE.shape[:2], 9, np.uint8)])
    for form in ("PNG", "TIFF"):
        np.testing.assert_array_equal(decode(encode(rgba, form)), IMAGE)
    grey = IMAGE[..., 0]
    np.testing.assert_array_equal(decode(encode(grey, "PNG")), grey[..., None])
    faint = Image.fromarray(np.dstack([grey, grey]))  # grey with alpha
    np.testing.assert_array_equal(decode(encode(faint, "PNG")), grey[..., None])
    black_white = Image.fromarray(grey > 128)
    assert set(np.unique(decode(encode(black_white, "PNG")))) == {0, 255}
    assert decode(encode(Image.fromarray(IMAGE).convert("CMYK"), "JPEG")).shape[2] == 3


# What a viewer shows for each EXIF orientation, written out from the EXIF table.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a[::-1].transpose(1, 0, 2),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a[:, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    array = decode(encode(IMAGE, "PNG", exif=exif))
    np.testing.assert_array_equal(array, UPRIGHT[orientation](IMAGE))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_broken_exif_block_does_not_spoil_the_pixels():
    data = encode(IMAGE, "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff garbage")
    assert decode(data).shape == IMAGE.shape


@pytest.mark.parametrize(("min_side", "side"), [(None, 512), (300, 512), (256, 256), (100, 128)])
def test_jpegs_are_decoded_at_the_smallest_scale_that_is_enough(min_side, side):
    data = encode(texture(1, 0, side=512), "JPEG")
    assert decode(data, min_side=min_side).shape == (side, side, 3)


def test_reduced_scale_shows_the_same_picture():
    picture = texture(3, 0, side=256)
    small = decode(encode(picture, "JPEG", quality=95), min_side=64)
    means = picture.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - means).mean() < 3


def png_header(width, height, depth=8):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(b"0")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("side", [10_000, 60_000])
def test_decompression_bombs_are_refused_in_a_sentence(side, depth):
    with pytest.raises(DecodeError, match="89478485"):
        decode(png_header(side, side, depth))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"not an image at all", "no image format that is known"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image format that is known"),
        (b"\xff\xd8\xff", "no image format that is known"),
        (b"II*\x00" + bytes(60), "broken or truncated"),
        (b"\x89PNG\r\n\x1a\n" + bytes(60), "no image format that is known, or a broken header"),
    ],
)
def test_what_is_no_image(data, reason):
    with pytest.raises(DecodeError) as caught:
        decode(data)
    assert caught.value.reason.startswith(reason)
    assert isinstance(caught.value, UserError)


def test_the_error_names_the_file(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    with pytest.raises(DecodeError) as caught:
        decode(path)
    assert str(caught.value) == f"image must be readable, got {str(path)!r}: {caught.value.reason}"
    for missing, reason in (
        (tmp_path / "none.jpg", "no such file"),
        (tmp_path, "a folder without a TIFF in it"),
    ):
        with pytest.raises(DecodeError, match=reason):
            read_bytes(missing)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_requested_band_is_read_even_if_it_is_called_alpha(tmp_path, dtype):
    four = texture(0, 0, bands=4, dtype=dtype)
    path = write_geotiff(tmp_path / "a.tif", four, photometric="RGB", alpha="YES")
    np.testing.assert_array_equal(decode(path), four[..., :3])
    np.testing.assert_array_equal(decode(path, bands=[4, 1]), four[..., [3, 0]])
    np.testing.assert_array_equal(decode(path, bands=[1, 2, 3, 4]), four)
    with pytest.raises(DecodeError, match="band 9 where the file has 4"):
        decode(path, bands=[1, 9])


def test_bands_of_pictures_are_numbered_with_alpha():
    rgba = np.dstack([IMAGE, np.full(IMAGE.shape[:2], 9, np.uint8)])
    data = encode(rgba, "PNG")
    np.testing.assert_array_equal(decode(data, bands=[4, 2]), rgba[..., [3, 1]])
    np.testing.assert_array_equal(decode(encode(IMAGE, "PNG"), bands=[3, 3]), IMAGE[..., [2, 2]])
    palette = Image.fromarray(IMAGE).quantize(16)
    colours = np.asarray(palette.convert("RGB"))
    for form in ("PNG", "TIFF"):
        np.testing.assert_array_equal(decode(encode(palette, form), bands=[2]), colours[..., 1:2])
    with pytest.raises(DecodeError, match="band 2 where the file has 1"):
        decode(encode(IMAGE[..., 0], "PNG"), bands=[2])
    with pytest.raises(DecodeError, match="band 0 where the file has 3"):
        decode(encode(IMAGE, "PNG"), bands=[0])


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("int16", -32768), ("int16", 7), ("int32", -9999), ("float64", -1.7976931348623157e308)],
)
def test_other_numbers_keep_their_values_and_lose_no_data(tmp_path, dtype, nodata):
    limits = (-(2**15), 2**15 - 1) if dtype == "int16" else (-(2**23), 2**23)
    values = np.random.default_rng(0).integers(*limits, (9, 8, 3)).astype(dtype)
    values[2, 3] = nodata
    decoded = decode_full(write_geotiff(tmp_path / "a.tif", values, nodata=nodata))
    assert (decoded.dtype, decoded.nodata) == (dtype, nodata)
    wanted = np.where(values == nodata, np.nan, values.astype(np.float64))
    np.testing.assert_array_equal(decoded.pixels_HWC, wanted)
    assert decoded.measured_HWC is decoded.pixels_HWC


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_unsigned_images_become_float_only_where_pixels_are_missing(tmp_path, dtype):
    values = np.arange(1, 61).reshape(5, 6, 2).astype(dtype)
    whole = decode_full(write_geotiff(tmp_path / "whole.tif", values, nodata=0))
    assert whole.measured_HWC.dtype == dtype
    values[1, 1, 0] = values[4, 4, 1] = 0
    holes = decode_full(write_geotiff(tmp_path / "holes.tif", values, nodata=0))
    np.testing.assert_array_equal(holes.pixels_HWC, values)
    wanted = np.where(values == 0, np.nan, values.astype(np.float32))
    assert holes.measured_HWC.dtype == np.float32
    np.testing.assert_array_equal(holes.measured_HWC, wanted)


@pytest.mark.parametrize("text", ["-9999", "nan", "0.5", "70000"])
def test_a_no_data_value_that_the_type_cannot_hold_is_nowhere(text):
    grey = Image.fromarray(IMAGE[..., 0].astype(np.uint16))
    decoded = decode_full(encode(grey, "TIFF", tiffinfo={42113: text}))  # GDAL's own tag
    assert decoded.measured_HWC.dtype == np.uint16
    np.testing.assert_array_equal(decoded.measured_HWC, IMAGE[..., :1])


def test_names_and_place_come_with_the_pixels(tmp_path):
    names = ("B02", "", "nir")
    path = write_geotiff(tmp_path / "a.tif", texture(0, 0, bands=3), names=names)
    decoded = decode_full(path)
    assert decoded.names == band_names(path) == names
    assert decode_full(path, bands=[3, 1]).names == ("nir", "B02")
    assert decoded.place.crs == "EPSG:32632"
    assert decoded.place.transform == (10, 0, 500_000, 0, -10, 5_000_000)
    assert (decoded.place.width, decoded.place.height) == (32, 32)
    picture = save(tmp_path / "b.png", IMAGE)
    assert (decode_full(picture).names, decode_full(picture).place) == (("",) * 3, None)
    assert band_names(picture) == ("",) * 3
    assert decode_full(encode(IMAGE, "TIFF")).place is None
    assert decode_full(encode(IMAGE, "TIFF")).dtype == decode_full(picture).dtype == "uint8"
    four = write_geotiff(tmp_path / "c.tif", texture(0, 0, bands=4), photometric="RGB", alpha="YES")
    assert len(band_names(four)) == 4


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("options", [{}, {"compress": "deflate"}, {"interleave": "band"}])
def test_big_tiffs_cut_in_a_tile_raise(tmp_path, options, share):
    image = texture(0, 0, side=96, bands=3, dtype="uint16")
    tiles = {"tiled": True, "blockxsize": 32, "blockysize": 32, "bigtiff": "YES"}
    data = write_geotiff(tmp_path / "a.tif", image, **tiles, **options).read_bytes()
    assert data[:4] == b"II+\x00"
    np.testing.assert_array_equal(decode(data), image)
    with pytest.raises(DecodeError, match="truncated"):
        decode(data[: int(len(data) * share)])


@pytest.mark.data
@pytest.mark.skipif(DATA is None, reason="LIKENESS_DATA is unset")
def test_a_real_scene_of_ten_bands():
    (path,) = Path(DATA, "layouts", "geotiff-10band").glob("*.tif")
    decoded = decode_full(path)
    assert decoded.pixels_HWC.shape == (224, 224, 10)
    assert (decoded.dtype, decoded.nodata) == ("float32", -9999.0)
    assert (decoded.place.crs, decoded.place.resolution_m()) == ("EPSG:32614", 30.0)
    np.testing.assert_array_equal(decode(path, bands=[7, 2]), decoded.pixels_HWC[..., [6, 1]])


def test_threads_do_not_leak_warning_filters():
    data = encode(IMAGE, "TIFF")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        arrays = list(pool.map(decode, [data] * 64))
    assert all(np.array_equal(array, IMAGE) for array in arrays)
    assert warnings.filters == before


def test_a_jpeg_needs_no_gdal(tmp_path):
    path = save(tmp_path / "a.jpg", IMAGE)
    code = (
        "import sys; from likeness.data.decode import decode; "
        f"decode({str(path)!r}); sys.exit('rasterio' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
