"""Tables of whole numbers in MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Int64

from likeness.errors import UserError, require


def read_numbers(path: Path, key: str) -> Int64[np.ndarray, "rows columns"]:
    """The variable `key` of a .mat file (version 7 or older).

    Raises:
        UserError: if the file cannot be read, or holds no such table of whole numbers.
    """
    from scipy.io import loadmat

    try:
        arrays = loadmat(path, variable_names=[key], appendmat=False)
    except Exception as error:  # a broken file makes it raise whatever it stumbles on
        raise UserError(f"{path.name} must be a readable .mat file, got {error}") from error
    require(key in arrays, path.name, f"a file with the variable {key!r}", "none of that name")
    array = np.asarray(arrays[key])
    whole = array.dtype.kind in "iu" or (array.dtype.kind == "f" and (array % 1 == 0).all())
    require(whole and array.ndim == 2, path.name, "a table of whole numbers", str(array.dtype))
    numbers: np.ndarray = array.astype(np.int64)
    return numbers
