"""The rows of the tables of faces: asked of the model in batches, written in the order of coming.

Legend: C classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from likeness.errors import require
from likeness.files import write_json
from likeness.inference.blocks import ERROR, Failure, Model, answer_block
from likeness.inference.sources import printable
from likeness.inference.tables import probability_column, write_csv, write_parquet
from likeness_apps.facial_expression.faces.detector import Face
from likeness_apps.facial_expression.faces.find import Found

NO_FACE = "no_face"  # a picture in which the detector finds none
SUFFIXES = (".csv", ".parquet")
MEANING = (
    "label and p_* are the displayed expression as judged by annotators of the training pictures; "
    "they say nothing of what a person feels"
)
_BOX = ("left", "top", "width", "height", "detector_score")
_ANSWER = ("status", "reason", "label")


@dataclass(slots=True, eq=False)
class Row:
    """A face, or what there is instead of one.

    Attributes:
        keys: what stands in front: of a photograph its path, of a frame its number and time.
        number: of the face; None without one.
        face: where it is.
        status: `ok`, `error`, `out_of_scope`, `no_face`, or what the command adds; "" until the
            model has been asked.
        reason: why it is not ok.
        label: the model's class, "" if not ok.
        probabilities_C: nothing if not ok.
    """

    keys: tuple[Any, ...]
    number: int | None = None
    face: Face | None = None
    status: str = ""
    reason: str = ""
    label: str = ""
    probabilities_C: Float[np.ndarray, " C"] | None = None


@dataclass(eq=False)
class Sheet:
    """Rows in order; the model is asked as soon as there is a batch of faces.

    Attributes:
        model: who is asked.
    """

    model: Model
    _rows: list[Row] = field(default_factory=list)
    _waiting: list[tuple[Row, Any]] = field(default_factory=list)

    def add_face(self, keys: tuple[Any, ...], number: int, found: Found) -> None:
        """A face, of which the model has not been asked."""
        row = Row(keys, number, found.face)
        self._rows.append(row)
        self._waiting.append((row, found.prepared))
        if len(self._waiting) == self.model.batch_size:
            self._ask()

    def add_other(self, keys: tuple[Any, ...], status: str, reason: str) -> None:
        """What has no face."""
        self._rows.append(Row(keys, status=status, reason=reason))

    def take(self) -> list[Row]:
        """The rows since the last time, all with their answers."""
        self._ask()
        rows, self._rows = self._rows, []
        return rows

    def _ask(self) -> None:
        """One batch; what is withheld, as from pictures out of scope, is not in the rows."""
        if not self._waiting:
            return
        block = answer_block(self.model, [prepared for _, prepared in self._waiting]).withheld()
        for place, (row, _) in enumerate(self._waiting):
            row.status, row.reason = block.status[place], block.reasons[place]
            row.label = block.labels[place]
            if block.ok_B[place]:
                row.probabilities_C = block.probabilities_BC[place].copy()
        self._waiting = []


def add_photograph(sheet: Sheet, keys: tuple[Any, ...], looked: Failure | list[Found]) -> None:
    """The rows of a picture: one per face numbered from 1, or the one that says why there is none.

    Args:
        sheet: where they go.
        keys: of all of them.
        looked: the faces in it, or why it cannot be read.
    """
    if isinstance(looked, Failure):
        sheet.add_other(keys, ERROR, looked.reason)
    elif not looked:
        sheet.add_other(keys, NO_FACE, "no face was found")
    else:
        for number, found in enumerate(looked, start=1):
            sheet.add_face(keys, number, found)


def face_schema(
    keys: Sequence[tuple[str, pa.DataType]], classes: Sequence[str], facts: Mapping[str, str]
) -> pa.Schema:
    """Keys, face, left, top, width, height, detector_score, status, reason, label, p_*, model_id.

    Args:
        keys: the columns in front.
        classes: the model's.
        facts: kept as the schema's metadata, with what the columns mean.
    """
    numbers = [(name, pa.float32()) for name in _BOX]
    texts = [(name, pa.string()) for name in _ANSWER]
    probabilities = [(probability_column(name), pa.float32()) for name in classes]
    columns = [*keys, ("face", pa.int32()), *numbers, *texts, *probabilities]
    told = {**facts, "meaning": MEANING}
    return pa.schema([*columns, ("model_id", pa.string())], metadata=told)


def table_of(rows: Sequence[Row], model: Model, schema: pa.Schema) -> pa.Table:
    """Rows with their answers as a table of `schema`."""
    nothing = np.full(len(model.classes), np.nan, np.float32)
    given = [nothing if row.probabilities_C is None else row.probabilities_C for row in rows]
    probabilities_BC = np.array(given, np.float32).reshape(len(rows), len(model.classes))
    boxes = [(None,) * 5 if row.face is None else row.face[:5] for row in rows]
    width = len(schema.names) - len(_ANSWER) - len(_BOX) - len(model.classes) - 2
    columns: list[Any] = [
        *([_cell(row.keys[place]) for row in rows] for place in range(width)),
        [row.number for row in rows],
        *([box[place] for box in boxes] for place in range(5)),
        *([printable(getattr(row, name)) for row in rows] for name in _ANSWER),
        *probabilities_BC.T,
        [model.model_id] * len(rows),
    ]
    arrays = [
        pa.array(column, kind.type, from_pandas=True)  # nan becomes null
        for column, kind in zip(columns, schema, strict=True)
    ]
    return pa.table(arrays, schema=schema)


def require_table(out: Path) -> None:
    """Refuse a name that is no table's.

    Raises:
        UserError: unless it ends in .csv or .parquet.
    """
    rule = f"a name that ends in {' or '.join(SUFFIXES)}"
    require(out.suffix in SUFFIXES, "out", rule, str(out))


def join(folder: Path, out: Path, tables: Iterator[pa.Table], schema: pa.Schema) -> None:
    """Make the final table in the work folder, then give it its name.

    The metadata of a CSV file are beside it, in `F.csv.meta.json`.
    """
    made = folder / f"final{out.suffix}"
    if out.suffix == ".csv":
        write_csv(made, tables, schema)
        write_json(_beside(out), {k.decode(): v.decode() for k, v in schema.metadata.items()})
    else:
        write_parquet(made, tables, schema)
    made.replace(out)


def facts_of(out: Path) -> dict[str, str]:
    """The metadata of a finished table."""
    if out.suffix == ".csv":
        found: dict[str, str] = json.loads(_beside(out).read_text(encoding="utf-8"))
        return found
    import pyarrow.parquet as pq

    return {key.decode(): value.decode() for key, value in pq.read_metadata(out).metadata.items()}


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.meta.json")


def _cell(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value
