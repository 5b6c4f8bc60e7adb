"""Per-band mean and spread of training images: what the network's input is normalised by.

Shapes: S = side, C = bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from likeness.data.decode import decode
from likeness.errors import require
from likeness.threads import prefetched

SAMPLE = 512
_SCALES = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}


def scale_of(dtype: str) -> float:
    """What pixels of a type are divided by before normalisation: 255, 65535 or 1.

    Raises:
        UserError: for another type.
    """
    require(dtype in _SCALES, "dtype of the images", f"one of {', '.join(_SCALES)}", dtype)
    return _SCALES[dtype]


def band_statistics(
    root: Path, paths: Sequence[str], *, scale: float, seed: int = 0, threads: int = 2
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each band over training images.

    At most `SAMPLE` images are read (seeded choice), each at a reduced scale. Values that are not
    finite do not count.

    Args:
        root: the folder that the paths are relative to.
        paths: readable training images, all with the same bands.
        scale: what pixels are divided by, see `scale_of`.
        seed: of the choice.
        threads: threads that decode.

    Returns:
        (mean, std) with one number per band; a constant band has std 1.
    """
    chosen = list(paths)
    if len(chosen) > SAMPLE:
        picked = np.random.default_rng(seed).choice(len(chosen), SAMPLE, replace=False)
        chosen = [chosen[index] for index in sorted(picked.tolist())]

    def moments(path: str) -> np.ndarray:
        pixels_C = decode(root / path, min_side=64).astype(np.float64) / scale
        flat = pixels_C.reshape(-1, pixels_C.shape[-1])
        finite = np.isfinite(flat)
        kept = np.where(finite, flat, 0.0)
        return np.stack([finite.sum(0), kept.sum(0), np.square(kept).sum(0)])

    total = sum(prefetched(chosen, moments, threads=threads))
    count, first, second = np.asarray(total)
    mean = first / np.maximum(count, 1)
    spread = np.sqrt(np.maximum(second / np.maximum(count, 1) - mean**2, 0.0))
    spread[spread < 1e-6] = 1.0
    return [round(float(v), 6) for v in mean], [round(float(v), 6) for v in spread]
