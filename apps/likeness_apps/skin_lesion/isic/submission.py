"""From a model's predictions to the table that an ISIC challenge takes.

Legend: N images, K columns of the challenge.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from jaxtyping import Float

from likeness.errors import require
from likeness_apps.shell.console import say
from likeness_apps.shell.given import PROBABILITY, read_table, require_unique
from likeness_apps.skin_lesion.clinical.official import official_columns
from likeness_apps.skin_lesion.diagnoses import ISIC_2018, ISIC_2019
from likeness_apps.skin_lesion.isic.tables import write_submission

UNKNOWN = "unk"  # the class of 2019 that nobody was given images of


@dataclass(frozen=True, eq=False)
class Submission:
    """Probabilities as a challenge wants them.

    Attributes:
        names: of the images, without folder and ending.
        columns: as the challenge spells its classes.
        probabilities_NK: in this order.
        unanswered: names of images without probabilities; they are in no row.
        notes: what a person should know.
    """

    names: list[str]
    columns: list[str]
    probabilities_NK: Float[np.ndarray, "N K"]
    unanswered: list[str]
    notes: list[str]


def submit(predictions: Path, out: Path, *, quiet: bool = False) -> Submission:
    """Write the submission of a table that `predict` or `evaluate` wrote.

    Args:
        predictions: csv or parquet with `path` and a column `p_<class>` for each class.
        out: a new .csv file.
        quiet: say nothing.

    Raises:
        UserError: if the table has no probabilities, `out` exists or is no .csv, or as
            `write_submission` does.
    """
    require(out.suffix.lower() == ".csv", "out", "a .csv file", str(out))
    require(not out.exists(), "out", "a new file", str(out))
    found = submission_of(read_table(predictions, "predictions"))
    write_submission(out, found.names, found.columns, found.probabilities_NK)
    for note in found.notes:
        say(note, quiet=quiet)
    if found.unanswered:
        count, first = len(found.unanswered), found.unanswered[0]
        told = f"{count} images without an answer are not in it, the first {first}"
        say(f"{told}; the official scoring wants every image", quiet=quiet)
    say(f"{out}: {len(found.names)} images, {', '.join(found.columns)}", quiet=quiet)
    return found


def submission_of(predictions: pd.DataFrame) -> Submission:
    """The rows with probabilities, in the columns of the challenge that has these classes.

    2016 gets `malignant`, 2017 `melanoma` and `seborrheic_keratosis`, 2018 (HAM10000) and 2019
    their classes in capitals; `UNK` of 2019 is 0.0 where the model does not know it. Classes of no
    challenge stay as they are.

    Raises:
        UserError: if there are no probabilities, or a path is listed twice.
    """
    require_unique(predictions, "predictions")
    marked = [str(name) for name in predictions.columns if str(name).startswith(PROBABILITY)]
    rule = "a table with a column p_<class> for every class"
    require(marked, "predictions", rule, list(map(str, predictions.columns))[:8])
    wide = predictions[marked].apply(pd.to_numeric, errors="coerce")
    wide.columns = pd.Index([name.removeprefix(PROBABILITY) for name in marked])
    answered_N = wide.notna().all(axis=1)
    require(answered_N.any(), "predictions", "a table with a probability in some row", "none")
    classes = list(wide.columns)
    chosen, notes = list(official_columns(classes)), []
    if not chosen:
        chosen = classes
        notes.append("The classes are those of no ISIC challenge: written as they are.")
    table = wide.loc[answered_N, chosen]
    if set(ISIC_2019) - {UNKNOWN} == set(chosen):
        table = table.assign(**{UNKNOWN: 0.0})
        notes.append("UNK is 0.0 everywhere: the model does not know this class.")
    capitals = set(chosen) >= set(ISIC_2018) or set(chosen) >= set(ISIC_2019) - {UNKNOWN}
    stems = [PurePosixPath(path).stem for path in predictions["path"]]
    return Submission(
        names=[stem for stem, answered in zip(stems, answered_N, strict=True) if answered],
        columns=[name.upper() if capitals else name for name in table.columns],
        probabilities_NK=table.to_numpy(np.float64),
        unanswered=[stem for stem, answered in zip(stems, answered_N, strict=True) if not answered],
        notes=notes,
    )
