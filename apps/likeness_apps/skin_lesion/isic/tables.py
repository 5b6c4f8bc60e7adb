"""Truth and submission tables of the ISIC challenges: one row per image, one column per class.

The rules are those of the official scoring (`isic-challenge-scoring`); each has its own sentence.
What is more liberal here: the name column may also be `image_id` (ISIC 2017) or `isic_id`, and a
table of two columns without a header is read as the name and the class `malignant` (ISIC 2016).

Legend: N images, C classes.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from likeness.errors import UserError, require
from likeness.files import write_text

Shown = Callable[[Sequence[str]], list[str]]  # names of images -> what they are called
KEYS = ("image", "image_id", "isic_id", "lesion_id")
WEIGHTS = ("score_weight", "validation_weight")
IGNORED = "ISIC_0035068"  # a test image of 2018 that the official scoring gives weight 0
_FOREIGN = ("path", "truth", "label", "labels", "dx")  # columns of other tables
WORDS_2016 = {"benign": 0.0, "malignant": 1.0}
HEADERLESS = "no header: read as image and malignant (ISIC 2016)"


@dataclass(frozen=True, eq=False)
class IsicTruth:
    """What is true of each image.

    Attributes:
        names: image (or lesion) names without `.jpg`, in the file's order.
        classes: the class columns, in the file's order.
        truth_NC: which classes an image has; usually one, none where a class has no column.
        score_weight_N: weight of the image in every figure but one.
        validation_weight_N: weight in the figure `validation`.
        notes: what the reader should know.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    truth_NC: Bool[np.ndarray, "N C"]
    score_weight_N: Float[np.ndarray, " N"]
    validation_weight_N: Float[np.ndarray, " N"]
    notes: tuple[str, ...] = ()


def is_official(path: Path) -> bool:
    """Whether a file looks like a table of a challenge, by its ending and first line.

    That is a csv file with a name column of `KEYS` and no column that other tables have (`path`,
    `label`, ...), or with two cells of which the second is an answer.
    """
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
        header = next(csv.reader(handle), [])
    return _without_header(header) or bool({*KEYS} & {*header} and not {*_FOREIGN} & {*header})


def read_truth(path: Path, *, shown: Shown = list) -> IsicTruth:
    """Read a table of truth: the name, a 0/1 column per class, maybe weights.

    Args:
        path: the table.
        shown: what names without ending are called, in figures and messages.

    Raises:
        UserError: if it cannot be read, a name occurs twice, or a cell is out of range.
    """
    table, notes = _read(path, "truth", shown)
    columns = [name for name in table.columns if name not in WEIGHTS]
    require(columns, "truth", "a table with a column per class", list(table.columns))
    values = {name: _numbers(table[name], "truth") for name in columns}
    for name, column in values.items():
        wrong = column[~column.isin((0.0, 1.0))]
        _require_none(wrong.index, "truth", f"0 or 1 in the column {name!r}", "other values for")
    weights = {name: _weight(table, name) for name in WEIGHTS}
    ignored_N = table.index == IGNORED
    for column in weights.values():
        column[ignored_N] = 0.0
    if ignored_N.any():
        notes = (*notes, f"{IGNORED} has weight 0, as in the official scoring")
    return IsicTruth(
        names=tuple(table.index),
        classes=tuple(columns),
        truth_NC=np.stack([column.to_numpy() == 1 for column in values.values()], axis=1),
        score_weight_N=weights["score_weight"],
        validation_weight_N=weights["validation_weight"],
        notes=notes,
    )


def read_submission(
    path: Path, names: Sequence[str], classes: Sequence[str], *, shown: Shown = list
) -> Float[np.ndarray, "N C"]:
    """Read a table of probabilities, brought into the order of `names` and `classes`.

    Rows and columns may stand in any order; `.jpg` after a name is dropped. The probabilities of a
    row need not sum to 1.

    Args:
        path: the table.
        names: the images of the truth.
        classes: the classes of the truth.
        shown: as for `read_truth`.

    Raises:
        UserError: if it cannot be read; a row occurs twice, is missing or in excess; a column is
            missing or in excess; a cell is empty, no number or outside [0, 1]; or a column holds
            plain integers only, which the official scoring refuses.
    """
    table, _ = _read(path, "predictions", shown)
    missing = [name for name in classes if name not in table.columns]
    _require_none(missing, "predictions", "a table with the truth's class columns", "none named")
    extra = [name for name in table.columns if name not in set(classes)]
    _require_none(extra, "predictions", "a table without other columns than the truth's", "also")
    table = table[list(classes)]
    empty = table.index[table.isna().any(axis=1)]
    _require_none(empty, "predictions", "a table with a number in every cell", "an empty cell for")
    columns = [_numbers(table[name], "predictions") for name in classes]
    whole = [name for name, kind in table.dtypes.items() if kind != np.float64]
    rule = "probabilities with a decimal point in every column (0.0, 1.0), as officially required"
    _require_none(whole, "predictions", rule, "plain integers in")
    for column in columns:
        outside = column.index[~column.between(0.0, 1.0)]
        _require_none(outside, "predictions", "in [0, 1]", "other values for")
    given, wanted = set(table.index), set(names)
    missing = [name for name in names if name not in given]
    _require_none(missing, "predictions", "a table with every image of the truth", "no row for")
    extra = [name for name in table.index if name not in wanted]
    _require_none(extra, "predictions", "a table of the truth's images only", "also")
    return np.asarray(table.loc[list(names)], dtype=np.float64)


def write_submission(
    path: Path,
    names: Sequence[str],
    classes: Sequence[str],
    probabilities_NC: Float[np.ndarray, "N C"],
) -> None:
    """Write a submission that the official scoring reads: `image`, then a column per class.

    Every number has a decimal point or an exponent and is read back as the same float.

    Raises:
        UserError: if the shapes do not fit, a name occurs twice, a probability is outside [0, 1],
            or the file cannot be written.
    """
    shape = (len(names), len(classes))
    require(probabilities_NC.shape == shape, "probabilities", f"{shape}", probabilities_NC.shape)
    inside = bool(((probabilities_NC >= 0) & (probabilities_NC <= 1)).all())
    require(inside, "probabilities", "in [0, 1]", "others")
    bare = [_bare(name) for name in names]
    twice = sorted({name for name, count in pd.Series(bare).value_counts().items() if count > 1})
    _require_none(twice, "names", "one row per image", "several rows for")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["image", *classes])
    for name, row_C in zip(bare, probabilities_NC, strict=True):
        writer.writerow([name, *(repr(float(value)) for value in row_C)])
    write_text(path, out.getvalue())


def _read(path: Path, name: str, shown: Shown) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table indexed by bare image names, and notes on how it was read."""
    require(path.is_file(), name, "an existing .csv file", str(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{name} must be a csv file in UTF-8, got {path}") from None
    header = next(csv.reader([text.partition("\n")[0].rstrip("\r")]), [])
    headerless = _without_header(header)
    names = ["image", "malignant"] if headerless else header
    key = next((key for key in KEYS if key in names), None)
    require(key is not None, name, f"a csv file with a column {' or '.join(KEYS)}", header[:5])
    require(len(set(names)) == len(names), name, "a csv file with one column per name", header)
    table = _parsed(text, names, str(key), name, headerless=headerless)
    require(len(table) > 0, name, "a csv file with at least one row", str(path))
    require(not table[key].isna().any(), name, "a csv file with a name in every row", "none")
    table[key] = shown([_bare(cell) for cell in table[key]])
    twice = table[key][table[key].duplicated()].unique()
    _require_none(twice, name, "a table with one row per image", "several rows for")
    return table.set_index(key), (f"{name}: {HEADERLESS}",) if headerless else ()


def _parsed(text: str, names: list[str], key: str, name: str, *, headerless: bool) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            # Rows with more cells than the header lose them, says pandas.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                io.StringIO(text),
                header=None if headerless else 0,
                names=names,
                index_col=False,
                dtype={key: str},
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        said = " ".join(str(error).split())
        rule = "a csv file whose rows have as many cells as its header"
        raise UserError(f"{name} must be {rule}, got: {said}") from None


def _without_header(first: list[str]) -> bool:
    """Two cells of which the second is already an answer: `ISIC_0000000,benign` or `...,0.0`."""
    if len(first) != 2 or first[0] in KEYS:
        return False
    try:
        float(first[1])
    except ValueError:
        return first[1] in WORDS_2016
    return True


def _numbers(column: pd.Series, name: str) -> pd.Series:
    """The column as numbers; the words of ISIC 2016 count."""
    worded = column.map(lambda cell: WORDS_2016.get(cell, cell)) if name == "truth" else column
    numbers = pd.to_numeric(worded, errors="coerce").astype(np.float64)
    rule = f"a table with a number in every cell of {column.name!r}"
    wrong = column.index[numbers.isna()]
    _require_none(wrong, name, rule, "something else for")
    return numbers


def _weight(table: pd.DataFrame, name: str) -> np.ndarray:
    if name not in table.columns:
        return np.ones(len(table))
    numbers = _numbers(table[name], "truth")
    wrong = numbers.index[~((numbers >= 0) & np.isfinite(numbers))]
    _require_none(wrong, "truth", f"a table with {name} >= 0", "other values for")
    return np.array(numbers, dtype=np.float64)


def _bare(name: str) -> str:
    return name[:-4] if name.lower().endswith(".jpg") else name


def _require_none(found: Iterable[str], name: str, rule: str, got: str) -> None:
    """Raise a UserError that names the first three of `found`, unless there are none."""
    listed = [str(item) for item in found]
    if listed:
        more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
        raise UserError(f"{name} must be {rule}, got {got} {', '.join(listed[:3])}{more}")
