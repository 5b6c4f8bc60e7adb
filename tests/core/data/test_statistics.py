import numpy as np
import pytest

from fixtures.scenes import save, texture, write_geotiff
from likeness.data.statistics import band_statistics, scale_of
from likeness.data.transforms import luminance
from likeness.errors import UserError


def write_set(root, dtype, nodata, count=5):
    """Images of several sizes, three bands, with no-data pixels in some."""
    generator, images = np.random.default_rng(0), []
    for n in range(count):
        low, high = (1, 200) if dtype == "uint8" else (1, 9_000)
        image = generator.integers(low, high, (9 + n, 12, 3)).astype(dtype)
        if n % 2:
            image[:4, :, 1] = nodata
            image[2, 3] = nodata
        write_geotiff(root / f"{n}.tif", image, nodata=nodata)
        images.append(image)
    return [f"{n}.tif" for n in range(count)], images


def oracle(images, nodata, scale):
    """numpy's own mean and deviation over all pixels of all images."""
    pixels = np.concatenate([image.reshape(-1, image.shape[2]) for image in images])
    values = np.where(pixels == nodata, np.nan, pixels.astype(np.float64) / scale)
    values[~np.isfinite(values)] = np.nan
    return np.nanmean(values, axis=0), np.nanstd(values, axis=0)


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint8", 0), ("uint16", 0), ("int16", -9999), ("float32", -1.5)]
)
@pytest.mark.parametrize("threads", [1, 3])
def test_every_measured_pixel_counts_once_and_no_other(tmp_path, dtype, nodata, threads):
    paths, images = write_set(tmp_path, dtype, nodata)
    scale = scale_of(dtype)
    mean, std = band_statistics(tmp_path, paths, scale=scale, threads=threads)
    wanted_mean, wanted_std = oracle(images, nodata, scale)
    np.testing.assert_allclose(mean, wanted_mean, rtol=1e-8)
    np.testing.assert_allclose(std, wanted_std, rtol=1e-8)


def test_nan_and_infinity_do_not_count(tmp_path):
    paths, images = write_set(tmp_path, "float32", -1.5)
    images[0][0, 0] = [np.nan, np.inf, -np.inf]
    write_geotiff(tmp_path / "0.tif", images[0], nodata=-1.5)
    mean, std = band_statistics(tmp_path, paths, scale=1.0)
    wanted_mean, wanted_std = oracle(images, -1.5, 1.0)
    np.testing.assert_allclose(mean, wanted_mean, rtol=1e-8)
    np.testing.assert_allclose(std, wanted_std, rtol=1e-8)


def test_only_the_chosen_bands_in_their_order(tmp_path):
    paths, images = write_set(tmp_path, "uint16", 0)
    mean, std = band_statistics(tmp_path, paths, scale=1.0, bands=[3, 1])
    wanted_mean, wanted_std = oracle(images, 0, 1.0)
    np.testing.assert_allclose(mean, wanted_mean[[2, 0]], rtol=1e-8)
    np.testing.assert_allclose(std, wanted_std[[2, 0]], rtol=1e-8)


def test_a_small_spread_about_a_large_mean(tmp_path):
    """The difference of the mean square and the squared mean would lose every digit."""
    image = np.random.default_rng(0).integers(0, 2, (20, 20, 1)).astype(np.float64) + 2.0**23
    write_geotiff(tmp_path / "a.tif", image)
    ((mean,), (std,)) = band_statistics(tmp_path, ["a.tif"], scale=1e-3)
    assert mean == pytest.approx(image.mean() * 1e3, rel=1e-8)
    assert std == pytest.approx(image.std() * 1e3, rel=1e-8)


def test_constant_and_empty_bands_are_left_as_they_are(tmp_path):
    image = np.full((6, 6, 2), 0.1, np.float32)
    image[..., 1] = np.nan
    write_geotiff(tmp_path / "a.tif", image)
    mean, std = band_statistics(tmp_path, ["a.tif", "a.tif"], scale=1.0)
    assert mean == pytest.approx([0.1, 0.0])
    assert std == [1.0, 1.0]


def test_grey_among_colour_counts_for_every_band(tmp_path):
    colour, grey = texture(0, 0), texture(1, 0)[..., :1]
    save(tmp_path / "a.png", colour)
    save(tmp_path / "b.png", grey)
    mean, std = band_statistics(tmp_path, ["a.png", "b.png"], scale=255.0)
    wanted_mean, wanted_std = oracle([colour, grey.repeat(3, axis=2)], -1, 255.0)
    np.testing.assert_allclose(mean, wanted_mean, rtol=1e-8)
    np.testing.assert_allclose(std, wanted_std, rtol=1e-8)


def test_colour_that_becomes_grey_counts_once(tmp_path):
    colour, grey = texture(0, 0), texture(1, 0)[..., :1]
    save(tmp_path / "a.png", colour)
    save(tmp_path / "b.png", grey)
    mean, std = band_statistics(tmp_path, ["a.png", "b.png"], scale=255.0, grey=True)
    wanted_mean, wanted_std = oracle([luminance(colour), grey], -1, 255.0)
    np.testing.assert_allclose(mean, wanted_mean, rtol=1e-8)
    np.testing.assert_allclose(std, wanted_std, rtol=1e-8)


def test_scales_are_those_of_the_types():
    assert [scale_of(t) for t in ("uint8", "uint16", "int16", "float32")] == [255, 65535, 32767, 1]
    with pytest.raises(UserError, match="dtype of the images must be one of"):
        scale_of("complex64")
