import io
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from fixtures.scenes import save, texture, write_geotiff
from likeness.data.decode import DecodeError, decode, decode_full, read_bytes
from likeness.errors import UserError

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
    for missing in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(DecodeError, match="no such file"):
            read_bytes(missing)


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
