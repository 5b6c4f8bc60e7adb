"""Per-band mean and spread of training images: what the network's input is normalised by.

Shapes: H height, W width, C bands, N images, P pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Shaped

from likeness.data.stepped import read_stepped
from likeness.data.steps import Step
from likeness.data.transforms import luminance
from likeness.errors import require
from likeness.threads import prefetched

SAMPLE = 512
_SCALES = {"uint8": 255.0, "uint16": 65535.0, "int16": 32767.0, "float32": 1.0}


def scale_of(dtype: str) -> float:
    """What pixels of a type are divided by before normalisation: the greatest number, 1 for floats.

    Raises:
        UserError: for another type.
    """
    require(dtype in _SCALES, "dtype of the images", f"one of {', '.join(_SCALES)}", dtype)
    return _SCALES[dtype]


def band_statistics(
    root: Path,
    paths: Sequence[str],
    *,
    scale: float,
    bands: Sequence[int] | None = None,
    steps: Sequence[Step] = (),
    grey: bool = False,
    seed: int = 0,
    threads: int = 2,
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each band over training images.

    At most `SAMPLE` images are read (seeded choice), JPEGs at a reduced scale. No-data pixels and
    values that are not finite do not count.

    Args:
        root: the folder that the paths are relative to.
        paths: readable training images, at least one, all with the same bands or grey among colour.
        scale: what pixels are divided by, see `scale_of`.
        bands: numbers of the bands, as `decode` takes them.
        steps: what is done to the images before they are measured, as before they are resized.
        grey: whether images of three bands become grey behind the steps.
        seed: of the choice.
        threads: threads that decode.

    Returns:
        (mean, std) with one number per band; a constant band has std 1, a band without any
        measurement mean 0 as well.
    """
    chosen = list(paths)
    if len(chosen) > SAMPLE:
        picked = np.random.default_rng(seed).choice(len(chosen), SAMPLE, replace=False)
        chosen = [chosen[index] for index in sorted(picked.tolist())]

    def moments(path: str) -> Float64[np.ndarray, "3 C"]:
        read = read_stepped(root / path, steps, side=64, bands=bands)
        is_colour = grey and read.image_HWC.shape[2] == 3
        return _moments(luminance(read.image_HWC) if is_colour else read.image_HWC, scale)

    parts = list(prefetched(chosen, moments, threads=threads))
    widest = max(part.shape[1] for part in parts)  # grey among colour counts for all three
    wide = [np.broadcast_to(part, (3, widest)) for part in parts]
    count_NC, mean_NC, spread_NC = np.stack(wide, axis=1)
    total_C = np.maximum(count_NC.sum(axis=0), 1)
    mean_C = (count_NC * mean_NC).sum(axis=0) / total_C
    # Within the images and between them (Chan et al. 1983): no difference of large squares.
    spread_C = (spread_NC + count_NC * np.square(mean_NC - mean_C)).sum(axis=0)
    std_C = np.sqrt(spread_C / total_C)
    std_C[std_C <= 1e-9 * np.abs(mean_C)] = 1.0
    return [_short(v) for v in mean_C], [_short(v) for v in std_C]


def _moments(image_HWC: Shaped[np.ndarray, "H W C"], scale: float) -> Float64[np.ndarray, "3 C"]:
    """Count, mean and sum of squared deviations of the finite values of each band."""
    pixels_PC = image_HWC.reshape(-1, image_HWC.shape[-1]).astype(np.float64) / scale
    finite_PC = np.isfinite(pixels_PC)
    count_C = finite_PC.sum(axis=0)
    mean_C = np.where(finite_PC, pixels_PC, 0.0).sum(axis=0) / np.maximum(count_C, 1)
    deviation_PC = np.where(finite_PC, pixels_PC - mean_C, 0.0)
    return np.stack([count_C, mean_C, np.square(deviation_PC).sum(axis=0)])


def _short(value: float) -> float:
    """Nine digits, as many as float32 can tell apart."""
    return float(f"{value:.9g}")
