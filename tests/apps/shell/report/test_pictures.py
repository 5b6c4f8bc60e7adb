"""Pictures in a report: asked for, small, and without metadata."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fixtures.pages import Page
from fixtures.reports import draw_scene
from likeness.errors import UserError
from likeness_apps.shell.report.html import render_report
from likeness_apps.shell.report.pictures import Pictures, data_uri


def test_no_picture_unless_asked_for(data):
    text = render_report(data)
    assert "data:image" not in text
    assert "Pictures were left out" in Page(text).text


def test_pictures_are_small_and_carry_no_metadata(data, page, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "somebody's name"
    original = tmp_path / "x.jpg"
    Image.fromarray(draw_scene("a_1.jpg", 300)).save(original, exif=exif)
    assert b"somebody" in original.read_bytes()
    with Image.open(original) as opened:
        loaded = np.asarray(opened)
    shown = replace(data, thumbnail=lambda path: loaded)
    for text in (page, render_report(shown, include_images=True, max_tiles=5)):
        uris = [a["src"] for a in Page(text).all("img")]
        assert uris
        for uri in uris:
            body = base64.b64decode(uri.removeprefix("data:image/webp;base64,"))
            image = Image.open(io.BytesIO(body))
            assert max(image.size) <= 128
            assert not image.getexif()
            assert b"EXIF" not in body
            assert b"somebody" not in body


def test_pictures_stop_at_their_budget_and_the_page_goes_on():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    size = len(data_uri(noise, 96))
    assert size < 9_000  # noise is re-encoded at the lower quality
    pictures = Pictures(lambda path: noise, budget=3 * size)
    assert [pictures.uri("x", 96) is not None for _ in range(5)] == [True] * 3 + [False] * 2
    assert pictures.left_out == 2


@pytest.mark.parametrize(
    "shape", [(9, 7), (9, 7, 1), (9, 7, 2), (9, 7, 3), (9, 7, 10), (400, 30, 3)]
)
def test_any_number_of_bands_becomes_a_picture(shape):
    uri = data_uri(np.full(shape, 90, dtype=np.uint8), 64)
    image = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert max(image.size) <= 64
    assert abs(np.asarray(image.convert("RGB")).mean() - 90) < 3


def test_what_is_no_picture_is_refused():
    with pytest.raises(UserError, match="picture must be a uint8 array"):
        data_uri(np.zeros((4, 4, 3)), 64)  # type: ignore[arg-type]


def test_a_thumbnail_that_fails_leaves_a_plain_tile(data):
    text = render_report(replace(data, thumbnail=lambda path: None), include_images=True)
    assert "data:image" not in text
    assert 'class="plain"' in text
