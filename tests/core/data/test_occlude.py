"""Shifting and erasing: against numpy's padding, and against draws from the definition."""

import math

import numpy as np
import pytest
import torch

from fixtures.scenes import save, texture
from likeness.config import parse
from likeness.data.augmentation import Augmentation, augment, occlude
from likeness.data.dataset import ImageRows
from likeness.data.occlude import PadCrop, PixelRange, RandomErasing, erase_, pad_and_crop
from likeness.data.transforms import Preprocessing, to_tensor
from likeness.errors import UserError

SIZE = HEIGHT, WIDTH = 64, 32
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
PREPARED = Preprocessing(size=SIZE, mean=MEAN, std=STD)
BLACK = [-mean / std for mean, std in zip(MEAN, STD, strict=True)]
WHITE = [(1 - mean) / std for mean, std in zip(MEAN, STD, strict=True)]
PIXELS = PixelRange(torch.tensor(BLACK), torch.tensor(WHITE))
UPRIGHT = {"rotate90": False}
OFF = {"crop_scale_min": 1.0, "brightness": 0, "contrast": 0, "colour": 0}


def noise(bands=3, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random((bands, *SIZE), dtype=np.float32))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    for number in range(4):
        save(root / f"{number}.png", texture(0, number, side=HEIGHT)[:, :WIDTH] // 2 + 60)
    return root, [f"{number}.png" for number in range(4)]


def rows_of(pictures, seed=0, **changes):
    changes = Augmentation(**{**UPRIGHT, **changes})
    return ImageRows(*pictures, PREPARED, augmentation=changes, seed=seed)


# ---- shifting -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", ["zero", "mean"])
@pytest.mark.parametrize("draws", [(0.0, 0.0), (0.999, 0.999), (0.5, 0.5), (0.1, 0.9), (0.6, 0.3)])
def test_it_is_numpys_padding_and_a_crop(fill, draws):
    image, pixels = noise(), 5
    ends = BLACK if fill == "zero" else [0.0] * 3
    padded = np.stack(
        [
            np.pad(plane, pixels, constant_values=np.float32(end))
            for plane, end in zip(image.numpy(), ends, strict=True)
        ]
    )
    # A shift downwards is a crop that begins higher up.
    top, left = (2 * pixels - math.floor(draw * 11) for draw in draws)
    wanted = padded[:, top : top + HEIGHT, left : left + WIDTH]
    found = pad_and_crop(image, PadCrop(pixels=pixels, fill=fill), PIXELS, draws)
    np.testing.assert_array_equal(found.numpy(), wanted)


def test_every_shift_is_equally_likely():
    spec = Augmentation(**UPRIGHT, pad_crop={"pixels": 2, "fill": "mean"})
    generator, counts = np.random.default_rng(0), np.zeros((HEIGHT, WIDTH), int)
    for _ in range(1000):
        dot = torch.zeros(3, *SIZE)
        dot[:, 20, 10] = 1
        counts += occlude(dot, spec, generator, PREPARED)[0].numpy().astype(int)
    reached = counts[18:23, 8:13]
    assert reached.sum() == 1000
    assert 15 < reached.min() <= reached.max() < 75  # 40 expected, with a deviation of 6


# ---- erasing ------------------------------------------------------------------------------------


def holes(spec, count):
    """(top, left, height, width) of each rectangle over `count` images; None for a whole image."""
    generator, found = np.random.default_rng(0), []
    ends = PixelRange(-torch.ones(1), torch.ones(1))
    for _ in range(count):
        erased = erase_(torch.ones(1, *SIZE), spec, ends, generator)[0]
        rows, columns = (torch.nonzero((erased != 1).any(dim=axis)).ravel() for axis in (1, 0))
        if len(rows) == 0:
            found.append(None)
            continue
        box = int(rows[0]), int(columns[0]), len(rows), len(columns)
        # One whole rectangle and nothing else.
        assert int((erased != 1).sum()) == box[2] * box[3]
        assert int(rows[-1] - rows[0]) + 1 == box[2]
        assert int(columns[-1] - columns[0]) + 1 == box[3]
        found.append(box)
    return found


def by_definition(count, seed=1):
    """Area and height of rectangles that fit, drawn at once."""
    draw = np.random.default_rng(seed)
    area = draw.uniform(0.02, 0.4, 4 * count) * HEIGHT * WIDTH
    aspect = draw.uniform(0.3, 1 / 0.3, 4 * count)
    tall, wide = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    fits = (tall <= HEIGHT) & (wide <= WIDTH)
    return tall[fits][:count], wide[fits][:count]


def test_the_defaults_are_those_of_the_paper():
    spec = RandomErasing()
    assert (spec.probability, spec.area, spec.fill) == (0.5, (0.02, 0.4), "mean")
    assert spec.aspect == pytest.approx((0.3, 3.333333), abs=1e-5)
    assert Augmentation().random_erasing is None
    assert Augmentation().pad_crop is None
    assert PadCrop() == PadCrop(pixels=10, fill="zero")


def test_erasing_has_the_statistics_of_its_definition():
    found = holes(RandomErasing(), 3000)
    boxes = np.array([box for box in found if box is not None])
    assert 1390 < len(boxes) < 1610  # 1500 expected with a standard deviation of 27
    tall, wide = by_definition(20_000)
    areas = boxes[:, 2] * boxes[:, 3]
    for own, wanted in ((boxes[:, 2], tall), (boxes[:, 3], wide), (areas, tall * wide)):
        error = wanted.std() / math.sqrt(len(boxes))
        assert abs(own.mean() - wanted.mean()) < 4 * error
        assert own.std() == pytest.approx(wanted.std(), rel=0.1)
    shares = areas / (HEIGHT * WIDTH)
    assert 0.015 < shares.min() < 0.03
    assert 0.36 < shares.max() < 0.42
    for axis, side in ((0, HEIGHT), (1, WIDTH)):
        room = side - boxes[:, 2 + axis]
        assert (boxes[:, axis] <= room).all()
        place = boxes[room > 8, axis] / room[room > 8]  # even from edge to edge
        assert place.mean() == pytest.approx(0.5, abs=0.04)
        assert (place == 0).any()
        assert (place == 1).any()


@pytest.mark.parametrize(("probability", "erased"), [(0.0, 0), (1.0, 50)])
def test_never_and_always(probability, erased):
    found = holes(RandomErasing(probability=probability), 50)
    assert sum(box is not None for box in found) == erased


def test_a_rectangle_that_fits_nowhere_leaves_the_image():
    flat = RandomErasing(probability=1.0, area=(0.5, 0.5), aspect=(0.01, 0.01))
    assert holes(flat, 3) == [None] * 3


def test_random_fill_is_even_between_black_and_white():
    spec = RandomErasing(probability=1.0, area=(0.3, 0.4), aspect=(1.0, 1.0), fill="random")
    generator, values = np.random.default_rng(0), []
    for _ in range(20):
        image = erase_(torch.full((3, *SIZE), 99.0), spec, PIXELS, generator)
        inside = (image != 99).all(dim=0)
        values.append(image[:, inside] * torch.tensor(STD)[:, None] + torch.tensor(MEAN)[:, None])
    levels = torch.cat(values, dim=1).double()
    assert levels.min() > -1e-6
    assert levels.max() < 1 + 1e-6
    assert levels.mean(dim=1).numpy() == pytest.approx([0.5] * 3, abs=0.01)
    assert levels.var(dim=1).numpy() == pytest.approx([1 / 12] * 3, abs=0.002)
    assert abs(np.corrcoef(levels)[0, 1]) < 0.05  # every band its own


# ---- in the pipeline ----------------------------------------------------------------------------


def test_switched_off_nothing_is_drawn_and_nothing_changed():
    image, generator = noise(), np.random.default_rng(3)
    assert occlude(image, Augmentation(), generator, PREPARED) is image
    assert generator.random() == np.random.default_rng(3).random()


def test_the_other_changes_stay_what_they_were(pictures):
    """The random numbers of older options come first, so that older runs stay what they were."""
    _, paths = pictures
    plain, shifted = rows_of(pictures), rows_of(pictures, pad_crop={"pixels": 3})
    erased = rows_of(pictures, random_erasing={"probability": 1.0})
    both = rows_of(pictures, pad_crop={"pixels": 3}, random_erasing={"probability": 1.0})
    for row in range(len(paths)):
        item = (row, 5, row)
        wanted = plain[item][0]
        by_hand = np.random.default_rng((0, 5, row))
        loaded = plain._load(row, plain.train_size)
        changed = augment(loaded, Augmentation(**UPRIGHT), by_hand, size=SIZE)
        assert torch.equal(wanted, to_tensor(changed, PREPARED))
        down, right = (int(draw * 7) - 3 for draw in by_hand.random(2))
        inside = np.s_[:, 3:-3, 3:-3]
        moved = wanted.roll((down, right), (1, 2))
        assert torch.equal(shifted[item][0][inside], moved[inside])
        hole = (erased[item][0] == 0).all(dim=0)
        assert hole.any()
        assert torch.equal(erased[item][0][:, ~hole], wanted[:, ~hole])
        # Erasing does not ask whether there was a shift.
        assert torch.equal((both[item][0] == 0).all(dim=0), hole)


def test_changes_depend_on_seed_step_and_slot_only(pictures):
    changes = {"pad_crop": {"pixels": 4}, "random_erasing": {"probability": 1.0, "fill": "random"}}
    rows = rows_of(pictures, seed=1, **changes)
    first = rows[2, 7, 3][0]
    rows[1, 7, 3], rows[2, 8, 3]
    assert torch.equal(rows[2, 7, 3][0], first)
    assert torch.equal(rows_of(pictures, seed=1, **changes)[2, 7, 3][0], first)
    others = [rows[2, 8, 3][0], rows[2, 7, 4][0], rows_of(pictures, seed=2, **changes)[2, 7, 3][0]]
    assert not any(torch.equal(other, first) for other in others)


def test_black_is_black_in_any_scale():
    deep = Preprocessing(bands=2, size=SIZE, mean=[0.1, 0.2], std=[0.5, 0.25], scale=10_000)
    changes = Augmentation(**UPRIGHT, pad_crop={"pixels": 9})
    image = torch.ones(2, *SIZE)
    shifted = occlude(image, changes, np.random.default_rng(0), deep)
    new = (shifted != 1).all(dim=0)
    assert new.any()
    np.testing.assert_allclose(shifted[:, new].amax(dim=1), [-0.2, -0.8], atol=1e-6)


def test_it_works_on_squares_with_turns_too(tmp_path):
    save(tmp_path / "a.png", texture(0, 0, side=32))
    square = Preprocessing(size=32, mean=MEAN, std=STD)
    changes = Augmentation(pad_crop={"pixels": 3}, random_erasing={"fill": "random"})
    rows = ImageRows(tmp_path, ["a.png"], square, augmentation=changes)
    images = torch.stack([rows[0, 0, slot][0] for slot in range(20)])
    assert images.shape == (20, 3, 32, 32)
    assert torch.isfinite(images).all()


@pytest.mark.plain
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pad_crop": {"pixels": 0}}, "augmentation.pad_crop.pixels must be"),
        ({"pad_crop": {"fill": "grey"}}, "augmentation.pad_crop.fill must be 'zero' or 'mean'"),
        ({"random_erasing": {"probability": 1.1}}, "augmentation.random_erasing.probability must"),
        ({"random_erasing": {"area": [0.4, 0.2]}}, "such that 0 < area[0] <= area[1] < 1"),
        ({"random_erasing": {"area": [0.4, 1.0]}}, "such that 0 < area[0] <= area[1] < 1"),
        ({"random_erasing": {"aspect": [0, 2]}}, "such that 0 < aspect[0] <= aspect[1]"),
        ({"random_erasing": {"areas": [0.1, 0.2]}}, "did you mean 'area'"),
    ],
)
def test_mistakes_are_one_sentence(changes, sentence):
    with pytest.raises(UserError) as caught:
        parse(Augmentation, changes, "augmentation")
    assert sentence in str(caught.value)


@pytest.mark.plain
def test_padding_that_may_push_everything_out_is_refused(pictures):
    rule = (
        r"^data\.augmentation\.pad_crop\.pixels must be < 32 for images of 64 x 32 pixels, got 32$"
    )
    with pytest.raises(UserError, match=rule):
        rows_of(pictures, pad_crop={"pixels": 32})


def test_of_images_standardised_by_themselves_the_darkest_number_is_black():
    """What 0 became is another number in every image."""
    preprocessing = Preprocessing(
        size=SIZE, mean=[0.0] * 3, std=[1.0] * 3, per_image_standardisation=True
    )
    image = to_tensor(texture(0, 0, side=HEIGHT)[:, :WIDTH], preprocessing)
    darkest, brightest = image.amin(dim=(1, 2)), image.amax(dim=(1, 2))
    spec = Augmentation(**UPRIGHT, pad_crop=PadCrop(pixels=8))
    generator = np.random.default_rng(3)
    shifts = [int(draw * 17) - 8 for draw in np.random.default_rng(3).random(2)]
    assert all(shifts)
    shifted = occlude(image.clone(), spec, generator, preprocessing)
    row = 0 if shifts[0] > 0 else -1
    assert torch.equal(shifted[:, row, WIDTH // 2], darkest)
    spec = Augmentation(**UPRIGHT, random_erasing=RandomErasing(probability=1.0, fill="random"))
    erased = occlude(image.clone(), spec, np.random.default_rng(3), preprocessing)
    changed = (erased != image).any(dim=0)
    inside = erased[:, changed]
    assert inside.shape[1] > 20
    assert (inside >= darkest[:, None]).all()
    assert (inside <= brightest[:, None]).all()
