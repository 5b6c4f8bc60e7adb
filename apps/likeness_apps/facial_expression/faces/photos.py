"""Whole photographs: every face that is found in them is a row, in order and resumable.

Photographs are read and searched ahead in threads; the faces of several go to the model together.
Finished parts are kept beside the output, as `inference.shards` does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice, tee
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from likeness.data.decode import decode
from likeness.errors import require
from likeness.inference.blocks import ERROR, OK, OUT_OF_SCOPE, Model, attempt
from likeness.inference.parts import Parts, close, opened
from likeness.inference.sources import Source, open_source
from likeness.inference.tables import write_part
from likeness.threads import prefetched
from likeness_apps.facial_expression.faces.detector import Detector
from likeness_apps.facial_expression.faces.find import Finder, Found, as_photograph, finder_of
from likeness_apps.facial_expression.faces.rows import (
    NO_FACE,
    Sheet,
    add_photograph,
    face_schema,
    facts_of,
    join,
    require_table,
    table_of,
)

PART_PHOTOS = 64  # that are finished together: what a kill can cost
_AHEAD = 2  # photographs per thread that are under way
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Coverage:
    """How many photographs and faces have an answer.

    Attributes:
        photographs: that were looked at.
        unreadable: of these, no photographs or broken.
        without_face: of these, readable and no face was found.
        faces: found.
        ok: faces with an answer.
        out_of_scope: faces unlike those that the model was trained on.
        failed: faces whose picture could not be used.
    """

    photographs: int
    unreadable: int
    without_face: int
    faces: int
    ok: int
    out_of_scope: int
    failed: int

    @property
    def with_face(self) -> int:
        """Photographs in which a face was found."""
        return self.photographs - self.unreadable - self.without_face

    @property
    def exit_code(self) -> int:
        """0 if any face has an answer, else 1."""
        return 0 if self.ok else 1

    def told(self) -> str:
        """In words."""
        seen = self.photographs - self.unreadable
        text = f"faces found in {self.with_face} of {seen} photographs"
        if self.unreadable:
            text += f" ({self.unreadable} more cannot be read)"
        text += f": {self.faces} faces, {self.ok} ok"
        others = ((self.out_of_scope, "out of scope"), (self.failed, "failed"))
        return text + "".join(f", {count} {word}" for count, word in others if count)


def predict_photos(
    model: Model,
    source: Source | Path | str,
    out: Path | str,
    *,
    detector: Detector | None = None,
    margin: float = 0.0,
    align: bool = False,
    grey: bool | None = None,
    on_progress: Progress | None = None,
) -> Coverage:
    """Write one row per face that is found.

    Columns: path, face (its number in the photograph, from the left), left, top, width, height,
    detector_score, status, reason, label, `p_<class>`, model_id.

    A photograph in which no face is found is a row with status `no_face`, one that cannot be read a
    row with `error`. Boxes are in pixels of the upright photograph. A call that was killed goes on
    when it is repeated. The metadata (of CSV in `F.csv.meta.json`) hold the terms of the model, the
    detector and the coverage.

    Args:
        model: who is asked.
        source: a folder, a table with a column `path`, an image, or a Source.
        out: a new file that ends in .csv or .parquet.
        detector: finds the faces, see `detector.Detector`; called from `model.threads` threads.
            None takes the cascade.
        margin: added to each side of a box, as a share of its longer side, in [0, 1].
        align: whether faces are turned until their eyes are level, where the detector gives eyes.
        grey: whether faces are made grey; None does so for a model that was trained on grey ones.
        on_progress: called with (photographs done, photographs in all).

    Returns:
        What was found.

    Raises:
        UserError: if a file or number is not as above, or the work folder belongs to other work.
    """
    require(len(model.classes), "model", "one with classes or centres", model.model_id)
    final = Path(out).absolute()
    require_table(final)
    finder = finder_of(model, detector, margin=margin, align=align, grey=grey)
    inputs = source if isinstance(source, Source) else open_source(source)
    settings = {**model.settings, "faces": finder.settings}
    job = opened(
        (final,),
        inputs,
        command="predict faces",
        model_id=model.model_id,
        settings=settings,
        shard=(1, 1),
        part_rows=PART_PHOTOS,
        overwrite=False,
    )
    with job as parts:
        if parts.job.ok is None:
            facts = {**model.terms, "model_id": model.model_id, "settings": json.dumps(settings)}
            schema = face_schema([("path", pa.string())], model.classes, facts)
            _look(finder, inputs.root, parts, schema, on_progress or (lambda done, total: None))
            counted = json.dumps(asdict(_coverage(parts)))
            told = schema.with_metadata({**schema.metadata, "coverage": counted})
            join(parts.folder, final, _tables(parts), told)
        coverage = Coverage(**json.loads(facts_of(final)["coverage"]))
        close(parts, coverage.ok, coverage.out_of_scope)
    return coverage


def _look(
    finder: Finder, root: Path, parts: Parts, schema: pa.Schema, on_progress: Progress
) -> None:
    """Make the missing parts."""
    job = parts.job
    missing = [part for part in range(job.parts) if not parts.finished(part)]
    done = job.rows - sum(job.rows_of(part) for part in missing)
    on_progress(done, job.rows)
    names, to_read = tee(parts.paths_of(frozenset(missing)))
    threads = finder.model.threads
    look = partial(attempt, partial(_faces_of, finder, root), root=root)
    looked = prefetched(to_read, look, threads=threads, ahead=_AHEAD * threads)
    with closing(looked):  # type: ignore[type-var]
        for part in missing:
            sheet = Sheet(finder.model)
            for path, found in islice(zip(names, looked, strict=True), job.rows_of(part)):
                add_photograph(sheet, (path,), found)
                done += 1
                on_progress(done, job.rows)
            write_part(parts.file(part), table_of(sheet.take(), finder.model, schema))


def _faces_of(finder: Finder, root: Path, path: str) -> list[Found]:
    require(path, "path", "the name of a photograph", path)
    return finder(as_photograph(decode(root / path)))


def _coverage(parts: Parts) -> Coverage:
    """Of all parts."""
    bare, faces = Counter[Any](), Counter[Any]()
    for table in _tables(parts, "face", "status"):
        found = table.column("face").is_valid().to_pylist()
        for has_face, status in zip(found, table.column("status").to_pylist(), strict=True):
            (faces if has_face else bare)[status] += 1
    return Coverage(
        photographs=parts.job.rows,
        unreadable=bare[ERROR],
        without_face=bare[NO_FACE],
        faces=faces.total(),
        ok=faces[OK],
        out_of_scope=faces[OUT_OF_SCOPE],
        failed=faces[ERROR],
    )


def _tables(parts: Parts, *columns: str) -> Iterator[pa.Table]:
    for part in range(parts.job.parts):
        yield pq.read_table(parts.file(part), columns=list(columns) or None)
