"""Small pictures inside a page: decoded arrays, re-encoded, so that no metadata comes along.

Shape legend: H, W height and width; C channels.
"""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from likeness.errors import require
from likeness_apps.shell.report.data import Picture, Thumbnail

BUDGET = 4_400_000  # bytes of base64 text; with the rest of a page this stays under 6 MB
_QUALITIES = (76, 50)  # the second where a picture is too noisy to be small
_SMALL = 4_000


class Pictures:
    """Data URIs by path, until a budget is spent.

    Args:
        thumbnail: gives the picture of a path, or None; None: there are no pictures.
        budget: the greatest number of characters of all data URIs together.
    """

    def __init__(self, thumbnail: Thumbnail | None, budget: int = BUDGET) -> None:
        self._thumbnail = thumbnail
        self._left = budget
        self.left_out = 0

    def uri(self, path: str, side: int, source: Thumbnail | None = None) -> str | None:
        """The picture of `path`, at most `side` pixels wide and high, as a WebP data URI.

        `source` gives it in place of the usual one; without that, there are no pictures either.
        """
        if self._thumbnail is None:
            return None
        picture = (source or self._thumbnail)(path)
        if picture is None:
            return None
        text = data_uri(picture, side)
        if len(text) > self._left:
            self.left_out += 1
            return None
        self._left -= len(text)
        return text


def data_uri(picture_HWC: Picture, side: int) -> str:
    """Encode a picture as a WebP data URI, at most `side` pixels wide and high; never enlarged."""
    image = shrink(as_image(picture_HWC), side)
    body = b""
    for quality in _QUALITIES:
        body = _encode(image, quality)
        if len(body) <= _SMALL * (side / 96) ** 2:
            break
    return "data:image/webp;base64," + base64.b64encode(body).decode("ascii")


def as_image(picture_HWC: Picture) -> Image.Image:
    """An 8-bit array as an RGB image: one band is grey, of more than three the first three show.

    Args:
        picture_HWC: uint8, (H, W) or (H, W, C).

    Raises:
        UserError: if the array is not an 8-bit picture.
    """
    array = np.asarray(picture_HWC)
    good = array.dtype == np.uint8 and array.ndim in (2, 3) and array.size > 0
    require(good, "picture", "a uint8 array H x W x C", f"{array.dtype} {array.shape}")
    if array.ndim == 3:
        array = array[:, :, 0] if array.shape[2] < 3 else array[:, :, :3]
    return Image.fromarray(np.ascontiguousarray(array)).convert("RGB")


def shrink(image: Image.Image, side: int) -> Image.Image:
    """Scale an image down to at most `side` pixels, aspect kept; never up."""
    scale = min(1.0, side / max(image.size))
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image if scale == 1.0 else image.resize((width, height), Image.Resampling.LANCZOS)


def _encode(image: Image.Image, quality: int) -> bytes:
    # A fresh image made from pixels carries no EXIF, no profile and no comment.
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()
