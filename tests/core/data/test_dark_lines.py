import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage import morphology

from fixtures.dark_lines import draw_lines, skin_like
from likeness.data.dark_lines import (
    _black_top_hat,
    _response,
    find_dark_lines,
    luminance,
    paint_over,
)
from likeness.data.decode import decode

DATA = os.environ.get("LIKENESS_DATA")
USUAL = {"width": 0.03, "length": 0.15, "contrast": 12.0}
SIZES = [(150, 200), (256, 256), (330, 440)]


def clean(image):
    return paint_over(image, find_dark_lines(image, **USUAL))


def errors(image, other, where):
    return np.abs(image.astype(float) - other.astype(float))[where].mean()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_lines_are_found_and_little_else(size, seed):
    rng = np.random.default_rng(seed)
    lined, truth = draw_lines(skin_like(rng, *size), rng)
    found = find_dark_lines(lined, **USUAL)
    assert found[truth].mean() > 0.85
    near = ndimage.binary_dilation(truth, np.ones((3, 3)), 2 * max(1, min(size) // 150))
    assert found[~near].mean() < 0.005


@pytest.mark.parametrize("size", SIZES)
def test_painting_over_brings_the_surface_back(size):
    rng = np.random.default_rng(1)
    image = skin_like(rng, *size)
    lined, truth = draw_lines(image, rng)
    cleaned = clean(lined)
    assert errors(cleaned, image, truth) < 0.2 * errors(lined, image, truth)
    far = ~ndimage.binary_dilation(truth, np.ones((3, 3)), 8 * max(1, min(size) // 150))
    assert (cleaned == lined)[far].mean() > 0.995


@pytest.mark.parametrize("radius", [0.03, 0.06, 0.12, 0.22, 0.4])
@pytest.mark.parametrize("size", SIZES)
def test_round_spots_stay(radius, size):
    image = skin_like(np.random.default_rng(2), *size, radius=radius)
    np.testing.assert_array_equal(clean(image), image)


def net_of_cells(points, width, depth, shape=(150, 200)):
    """Dark borders between the cells of strewn points, and where a line is drawn across them."""
    places = np.random.default_rng(6).uniform((0, 0), shape, (points, 2))
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    near = cKDTree(places).query(np.dstack([rows, columns]), 2)[0]
    net = (near[..., 1:] - near[..., :1]) < width
    image = np.where(net, np.array((190, 145, 120)) - depth, (190, 145, 120)).astype(np.uint8)
    assert 0.3 < net.mean() < 0.6
    return image, np.abs(rows - columns * 0.7 - 5) < 1.6


@pytest.mark.parametrize(("points", "width", "depth"), [(600, 1.5, 25), (1200, 0.8, 45)])
def test_a_net_mostly_stays(points, width, depth):
    image, _ = net_of_cells(points, width, depth)
    assert find_dark_lines(image, **USUAL).mean() < 0.08


def test_a_line_across_a_net_goes():
    image, line = net_of_cells(600, 1.5, 25)
    image[line] = (30, 25, 20)
    assert find_dark_lines(image, **USUAL)[line].mean() > 0.85


def test_short_wide_faint_and_bright_lines_stay():
    plain = np.full((150, 200, 3), 180, np.uint8)
    for box, level in (
        (np.s_[70:72, 90:105], 40),  # 15 pixels long, where 22 are asked for
        (np.s_[70:80, :], 40),  # 10 wide, where 5 are the most
        (np.s_[70:72, :], 172),
        (np.s_[70:72, :], 250),
    ):
        image = plain.copy()
        image[box] = level
        assert not find_dark_lines(image, **USUAL).any()
    image[70:72] = 40
    assert find_dark_lines(image, **USUAL)[70:72].all()


def test_a_dark_edge_of_the_picture_is_no_line():
    image = np.full((150, 200, 3), 180, np.uint8)
    image[:2], image[:, -2:] = 10, 10
    assert not find_dark_lines(image, **USUAL).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (5, 3), (8, 8), (20, 300)])
@pytest.mark.parametrize("level", [0, 255, None])
def test_tiny_flat_and_noisy_pictures(shape, level):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    image = image if level is None else np.full_like(image, level)
    cleaned = clean(image)
    assert (cleaned.shape, cleaned.dtype) == (image.shape, np.uint8)
    if level is not None:
        np.testing.assert_array_equal(cleaned, image)


def test_the_top_hat_is_that_of_scikit_image():
    grey = luminance(skin_like(np.random.default_rng(3), 40, 50))
    inside = np.pad(np.rint(grey).astype(np.uint8), 7)
    wanted = np.minimum(morphology.black_tophat(inside, np.ones((7, 7))), 60)[7:-7, 7:-7]
    np.testing.assert_array_equal(_black_top_hat(grey, 7), wanted)


def test_the_response_of_one_line_by_hand():
    """A line of depth 40 along a row: its own direction sees 40, 16 directions see the mean."""
    hat = np.zeros((31, 31), np.uint8)
    hat[15] = 40
    response = _response(hat, 15.0, 12.0)
    sums = []
    for angle in np.pi * np.arange(16) / 16:
        rows = [15 + round(step * np.sin(angle)) for step in range(-5, 6)]
        sums.append(np.mean([40 if row == 15 else 0 for row in rows]))
    wanted = (max(sums) - np.mean(sums)) / max(12.0, 1.3 * np.mean(sums))
    assert response[15, 15] == pytest.approx(wanted, rel=1e-6)
    assert response[15, 15] > 1
    assert (response[:9] < 0.6).all()


def test_the_fill_stays_between_its_neighbours_and_touches_no_other_pixel():
    rng = np.random.default_rng(4)
    image = rng.integers(90, 110, (60, 80, 3), dtype=np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[20:26], mask[:, 40:52], mask[:5, :5] = True, True, True
    image[mask] = 0
    filled = paint_over(image, mask)
    assert filled[mask].min() >= 90
    assert filled[mask].max() < 110
    np.testing.assert_array_equal(filled[~mask], image[~mask])


def test_an_edge_goes_on_through_a_line():
    image = np.full((60, 80, 3), 200, np.uint8)
    image[:, :40] = 60
    mask = np.zeros((60, 80), bool)
    mask[28:32] = True
    assert np.abs(paint_over(image, mask).astype(int) - image)[:, np.r_[:37, 43:80]].max() == 0


def test_nothing_is_painted_where_nearly_everything_is_marked():
    image = skin_like(np.random.default_rng(5), 30, 30)
    mask = np.ones((30, 30), bool)
    assert paint_over(image, mask) is image
    mask[:15] = False
    assert paint_over(image, mask) is not image


@pytest.mark.data
@pytest.mark.skipif(DATA is None, reason="LIKENESS_DATA is unset")
def test_lines_drawn_over_real_pictures_go_again():
    """Real pictures mostly keep their own pixels; of lines drawn over them most harm is undone."""
    files = sorted(Path(DATA, "isic2017", "ISIC-2017_Training_Data").glob("*[05]0.jpg"))[:8]
    assert len(files) == 8
    harm, left, lost = [], [], []
    for seed, file in enumerate(files):
        image = decode(file)
        lined, truth = draw_lines(image, np.random.default_rng(seed))
        ours, own = clean(lined), clean(image)
        harm.append(errors(lined, own, truth))
        left.append(errors(ours, own, truth))
        lost.append((own != image).any(axis=2).mean())
    assert np.mean(left) < 0.35 * np.mean(harm)
    assert np.median(lost) < 0.05
