"""Scenes cut into chips: read in strips of bounded size, embedded, each with its window.

Legend: N = chips of a scene, D = embedding dimension, B = bands, Y, X = pixels, H, W, C = a chip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from likeness.data.decode import decode_full
from likeness.data.place import Place
from likeness.data.stacks import prepare_images
from likeness.data.transforms import Preprocessing
from likeness.errors import require
from likeness.files import atomic_path
from likeness.inference.blocks import answer_block
from likeness.inference.predictor import Predictor
from likeness.threads import prefetched
from likeness_apps.remote_sensing.mapping.scene import PixelRows, Scene, open_scene
from likeness_apps.shell.report.data import Picture
from likeness_apps.shell.results import TILE, eight_bit

_TOGETHER = 16  # chips that are prepared at once
Window = tuple[int, int, int, int]  # first column, first row, width, height


@dataclass(frozen=True)
class Cut:
    """How scenes are cut.

    Attributes:
        chip: side of a chip in pixels; a scene that is smaller gives smaller chips.
        stride: pixels from one chip to the next; the last row and column end where the scene ends.
        min_valid: a chip with a smaller share of pixels that hold data is left out; one without
            any always is.
    """

    chip: int
    stride: int
    min_valid: float = 0.0

    def __post_init__(self) -> None:
        require(self.chip >= 8, "chip", ">= 8 pixels", self.chip)
        require(self.stride >= 1, "stride", ">= 1", self.stride)
        require(0 <= self.min_valid <= 1, "min_valid", "in [0, 1]", self.min_valid)


@dataclass(frozen=True, eq=False)
class SceneChips:
    """The chips of a scene that could be embedded.

    Attributes:
        place: of the whole scene.
        windows_N4: first column, first row, width, height.
        valid_N: share of pixels that hold data, in (0, 1].
        keys_N: SHA-256 of each chip's pixels.
        embeddings_ND: float32.
        no_data: chips left out because too few of their pixels hold data.
        unreadable: chips left out because a part of the file under them cannot be read.
        refused: chips that the network gave no usable answer for.
    """

    place: Place
    windows_N4: Int[np.ndarray, "N 4"]
    valid_N: Float[np.ndarray, " N"]
    keys_N: Shaped[np.ndarray, " N"]
    embeddings_ND: Float[np.ndarray, "N D"]
    no_data: int
    unreadable: int
    refused: int

    def save(self, path: Path) -> None:
        """Write all of it, atomically."""
        lost = [self.no_data, self.unreadable, self.refused]
        size = [self.place.width, self.place.height]
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.savez(
                handle,
                crs=np.array(self.place.crs),
                transform=np.array(self.place.transform),
                size=np.array(size),
                windows=self.windows_N4,
                valid=self.valid_N,
                keys=self.keys_N,
                embeddings=self.embeddings_ND,
                lost=np.array(lost),
            )

    @classmethod
    def load(cls, path: Path) -> SceneChips:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            a, b, c, d, e, f = stored["transform"].tolist()
            width, height = stored["size"].tolist()
            place = Place(str(stored["crs"]), (a, b, c, d, e, f), width, height)
            parts = [stored[name] for name in ("windows", "valid", "keys", "embeddings")]
            return cls(place, *parts, *stored["lost"].tolist())


def starts(length: int, side: int, stride: int) -> list[int]:
    """Where chips begin along an axis; the last one ends where the axis does."""
    last = max(0, length - side)
    return [*range(0, last, stride), last]


def scene_chips(predictor: Predictor, path: Path, cut: Cut) -> SceneChips:
    """Embed the chips of one scene; memory is bounded by two strips and a few batches of chips.

    Args:
        predictor: the model.
        path: the scene.
        cut: how to cut it.

    Raises:
        UserError: if the file is no raster, or its bands or type are not the model's.
    """
    lost = dict.fromkeys(("no_data", "unreadable", "refused"), 0)
    kept: list[_Ready] = []
    answers = [np.empty((0, predictor.embedding_dim), np.float32)]
    with open_scene(path, predictor.preprocessing) as scene:
        groups = prefetched(
            _groups(_chips(scene, cut, lost)),
            partial(_prepare, predictor.preprocessing),
            threads=predictor.threads,
            ahead=-(-predictor.batch_size // _TOGETHER) + predictor.threads,
        )
        with closing(groups):  # type: ignore[type-var]
            stream = chain.from_iterable(groups)
            while batch := list(islice(stream, predictor.batch_size)):
                block = answer_block(predictor, [tensor for _, tensor in batch])
                lost["refused"] += int((~block.ok_B).sum())
                answers.append(block.embeddings_BD[block.ok_B])
                kept += [ready for (ready, _), ok in zip(batch, block.ok_B, strict=True) if ok]
        place = scene.place
    return SceneChips(
        place=place,
        windows_N4=np.array([ready.window for ready in kept], np.int64).reshape(-1, 4),
        valid_N=np.array([ready.valid for ready in kept], np.float64),
        keys_N=np.array([ready.key for ready in kept], dtype="U64"),
        embeddings_ND=np.concatenate(answers),
        **lost,
    )


def read_window(scene: Scene, window: Window) -> Shaped[np.ndarray, "H W C"]:
    """The pixels of a window as an image file would give them: nan where there is no data.

    Raises:
        UserError: if the window is not inside the scene, holds no data or cannot be read.
    """
    column, row, width, height = window
    shape = (scene.place.width, scene.place.height)
    inside = min(window[:2]) >= 0 and min(window[2:]) >= 1
    inside = inside and column + width <= shape[0] and row + height <= shape[1]
    rule = f"column,row,width,height inside the scene's {shape[0]} x {shape[1]} pixels"
    require(inside, "window", rule, window)
    strip = scene.read(row, row + height)
    require(not _broken(strip, window), "window", "in a readable part of the scene", window)
    image_HWC, valid = _cut_out(scene, strip, row, window)
    require(valid > 0, "window", "over pixels that hold data", window)
    return image_HWC


def pixel_key(image_HWC: Shaped[np.ndarray, "H W C"]) -> str:
    """SHA-256 of an image's shape, type and pixels: equal for a chip and a file made of it."""
    digest = hashlib.sha256(f"{image_HWC.shape} {image_HWC.dtype}".encode())
    digest.update(np.ascontiguousarray(image_HWC).data)
    return digest.hexdigest()


def file_key(preprocessing: Preprocessing, path: Path) -> str:
    """The `pixel_key` of an image file, of the bands that the model reads."""
    return pixel_key(decode_full(path, bands=preprocessing.band_numbers).measured_HWC)


def prepare_image(preprocessing: Preprocessing, image_HWC: np.ndarray) -> Tensor:
    """What the network takes; raises DecodeError if the bands are not the model's."""
    return prepare_images([image_HWC], preprocessing)[0]


def window_picture(path: Path, window: Window) -> Picture | None:
    """A small picture of a window of a raster, read at that size; None if it cannot be read."""
    import rasterio
    from rasterio.enums import ColorInterp, Resampling
    from rasterio.errors import RasterioError
    from rasterio.windows import Window as RasterWindow

    try:
        with rasterio.open(path) as dataset:
            kinds = enumerate(dataset.colorinterp, start=1)
            bands = [band for band, kind in kinds if kind != ColorInterp.alpha]
            shown = bands[:3] if len(bands) >= 3 else bands[:1]
            image_CHW = dataset.read(
                shown,
                window=RasterWindow(*window),
                out_shape=(len(shown), min(TILE, window[3]), min(TILE, window[2])),
                resampling=Resampling.average,
            )
            nodata = dataset.nodata
    except (RasterioError, OSError):
        return None
    image_HWC = np.moveaxis(image_CHW, 0, -1)
    if image_HWC.dtype != np.uint8:
        image_HWC = image_HWC.astype(np.float64)
        if nodata is not None:
            image_HWC[image_HWC == nodata] = np.nan
    return eight_bit(image_HWC)


@dataclass(frozen=True, eq=False)
class _Chip:
    window: Window
    valid: float
    pixels_HWC: np.ndarray


@dataclass(frozen=True)
class _Ready:
    window: Window
    valid: float
    key: str


def _chips(scene: Scene, cut: Cut, lost: dict[str, int]) -> Iterator[_Chip]:
    """The chips that hold data, row by row; counts the others in `lost`."""
    wide, tall = min(cut.chip, scene.place.width), min(cut.chip, scene.place.height)
    tops = starts(scene.place.height, tall, cut.stride)
    lefts = starts(scene.place.width, wide, cut.stride)
    strips = prefetched(tops, lambda top: scene.read(top, top + tall), threads=1, ahead=1)
    with closing(strips):  # type: ignore[type-var]
        for top, strip in zip(tops, strips, strict=True):
            for left in lefts:
                window = (left, top, wide, tall)
                if _broken(strip, window):
                    lost["unreadable"] += 1
                    continue
                image_HWC, valid = _cut_out(scene, strip, top, window)
                if valid == 0 or valid < cut.min_valid:
                    lost["no_data"] += 1
                else:
                    yield _Chip(window, valid, image_HWC)


def _broken(strip: PixelRows, window: Window) -> bool:
    """Whether a block that could not be read lies under a window."""
    column, row, width, height = window
    return any(
        left < column + width and column < left + wide and top < row + height and row < top + tall
        for left, top, wide, tall in strip.unreadable
    )


def _cut_out(scene: Scene, strip: PixelRows, top: int, window: Window) -> tuple[np.ndarray, float]:
    """A window of a strip that begins at pixel row `top`, and its share of pixels with data."""
    column, row, width, height = window
    inside = np.s_[row - top : row - top + height, column : column + width]
    image_YXB = np.ascontiguousarray(scene.image(strip, inside))
    return image_YXB, float(strip.valid_YX[inside].mean())


def _groups(chips: Iterator[_Chip]) -> Iterator[list[_Chip]]:
    while group := list(islice(chips, _TOGETHER)):
        yield group


def _prepare(preprocessing: Preprocessing, chips: list[_Chip]) -> list[tuple[_Ready, Tensor]]:
    tensors = prepare_images([chip.pixels_HWC for chip in chips], preprocessing)
    ready = [_Ready(chip.window, chip.valid, pixel_key(chip.pixels_HWC)) for chip in chips]
    return list(zip(ready, tensors, strict=True))
