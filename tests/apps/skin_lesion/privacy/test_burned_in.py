"""Text in pixels is warned of; hairs, rulers and skin are not."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image, ImageDraw

from fixtures.lesions import dicom_bytes
from fixtures.planted import with_text
from likeness.data.checks import check
from likeness.data.listing import images_in
from likeness_apps.shell.results import thumbnail, thumbnail_of
from likeness_apps.skin_lesion.domain import DOMAIN
from likeness_apps.skin_lesion.privacy.burned_in import CODE, has_text, remarks_on
from likeness_apps.skin_lesion.sample import lesion_image

FONTS = Path(mpl.get_data_path()) / "fonts" / "ttf"
COLOURS = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "yellow": (255, 235, 0),
    "red": (220, 0, 0),
}


def lesion(number: int = 0, size: tuple[int, int] = (450, 600)) -> np.ndarray:
    small = lesion_image("nevus", number, size=(96, 128))
    resized = Image.fromarray(small).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(resized)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("font", [None, "DejaVuSans.ttf", "DejaVuSansMono-Bold.ttf"])
@pytest.mark.parametrize("size", [16, 36])
def test_drawn_text_is_found(colour: str, font: str | None, size: int) -> None:
    file = None if font is None else str(FONTS / font)
    for at in ((8, 8), (250, 400), (8, 220)):
        image = with_text(
            lesion(), "Zweistein, Jane", size=size, colour=COLOURS[colour], at=at, font=file
        )
        assert has_text(image), at


def test_large_pictures_and_grey_ones() -> None:
    large = with_text(lesion(1, (1500, 2000)), "ID 4711-0815", size=50, at=(1200, 1400))
    assert has_text(large)
    assert has_text(large[..., 1:2])
    turned = np.ascontiguousarray(np.rot90(large))
    assert not has_text(turned)  # a limit that the module states


def test_lesions_hairs_rulers_and_bubbles_are_no_text() -> None:
    for number in range(12):
        assert not has_text(lesion(number))
    image = Image.fromarray(lesion(3))
    draw = ImageDraw.Draw(image)
    for tick in range(40):  # a ruler at the edge, and one inside
        long = 30 if tick % 5 == 0 else 16
        draw.line([(15 * tick, 449), (15 * tick, 449 - long)], (0, 0, 0), 3)
        draw.line([(15 * tick + 4, 60), (15 * tick + 4, 60 + long)], (0, 0, 0), 2)
    rng = np.random.default_rng(0)
    for _ in range(25):
        (x, y), (dx, dy) = rng.uniform(0, 450, 2), rng.normal(0, 120, 2)
        draw.line([(x, y), (x + dx, y + dy)], (40, 25, 20), 2)
    for _ in range(12):
        x, y = rng.uniform(20, 430, 2)
        draw.ellipse((x, y, x + 12, y + 12), outline=(250, 250, 250), width=2)
    assert not has_text(np.asarray(image))


@pytest.mark.parametrize("shape", [(5, 5, 3), (1, 400, 3), (300, 2, 1), (20, 20, 3)])
def test_odd_shapes_and_types(shape: tuple[int, ...]) -> None:
    assert remarks_on(np.zeros(shape, np.uint8)) == ()
    assert remarks_on(np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)) == ()
    assert remarks_on(np.zeros(shape, np.float32)) == ()
    assert remarks_on(np.zeros((*shape[:2], 5), np.uint8)) == ()


def test_a_busy_texture_is_no_text() -> None:
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 2, (90, 120)).repeat(5, 0).repeat(5, 1) * 255
    assert not has_text(np.repeat(blocks[..., None], 3, 2).astype(np.uint8))


def test_checks_name_the_file_and_tiles_leave_it_out(tmp_path: Path) -> None:
    Image.fromarray(lesion(0)).save(tmp_path / "plain.png")
    Image.fromarray(with_text(lesion(1), "Zweistein")).save(tmp_path / "named.png")
    said = dicom_bytes(lesion(2), BurnedInAnnotation="YES")
    (tmp_path / "said.dcm").write_bytes(said)
    found = check(images_in(tmp_path), remarks_on=DOMAIN.remarks_on).findings
    warned = {(f.level, f.path) for f in found if f.code == CODE}
    assert warned == {("warning", "named.png"), ("warning", "said.dcm")}
    assert all(f.code != CODE for f in check(images_in(tmp_path / "named.png")).findings)
    picture = thumbnail_of(DOMAIN)
    assert picture(tmp_path / "plain.png") is not None
    assert picture(tmp_path / "named.png") is None
    assert picture(tmp_path / "said.dcm") is None
    assert picture(tmp_path / "missing.png") is None
    assert thumbnail(tmp_path / "named.png") is not None  # other fields have no such rule
