"""`predict` and `embed` over any number of images: in order, resumable, in constant memory.

Inputs are answered in parts, each written atomically into `F.parts/` beside the output `F`; when
all are there they are joined into `F`, which appears by renaming, and the folder is removed. A call
that was killed at any moment goes on when it is repeated: finished parts are kept, no row is lost
or written twice, and the output is the same byte for byte (same machine, versions, threads and
batch size).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice, tee
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from likeness.errors import UserError, require
from likeness.files import write_json
from likeness.inference.blocks import OK, OUT_OF_SCOPE, Block, Model, answer_prepared, prepare_all
from likeness.inference.parts import Parts, close, opened
from likeness.inference.sources import Source, open_source
from likeness.inference.tables import (
    EMBEDDING,
    embedding_schema,
    prediction_schema,
    table_of,
    write_csv,
    write_npy,
    write_parquet,
    write_part,
)

PART_ROWS = 1024  # about 20 s of ResNet-18 at 128 px on two cores: what a kill can cost
Progress = Callable[[int, int], None]
Command = Literal["predict", "embed"]
_SUFFIXES = {"predict": (".csv", ".parquet"), "embed": (".parquet", ".npy")}


@dataclass(frozen=True)
class Written:
    """What a call has written.

    Attributes:
        out: the files; the last is the table of rows.
        rows: rows of the table.
        ok: rows with an answer.
        errors: rows that could not be answered.
        refused: rows whose image is out of the model's scope.
        resumed: rows that an earlier call had finished.
        left_out: files of the input folder that were not looked at because of their ending.
    """

    out: tuple[Path, ...]
    rows: int
    ok: int
    errors: int
    refused: int
    resumed: int
    left_out: int

    @property
    def exit_code(self) -> int:
        """0 if any row is ok, or if this block of the input is empty; else 1."""
        return 0 if self.ok or not self.rows else 1


def predict(
    model: Model,
    source: Source | Path | str,
    out: Path | str,
    *,
    shard: tuple[int, int] = (1, 1),
    part_rows: int = PART_ROWS,
    overwrite: bool = False,
    facts: Mapping[str, str] | None = None,
    on_progress: Progress | None = None,
) -> Written:
    """Write one row per image: path, status, reason, label, `p_<class>` per class, model_id.

    A row of an image that cannot be used has status `error`, a reason and nothing else; that of an
    image unlike the training images `out_of_scope`, if the model remembers what they look like.
    What must be known of the model (its terms among it) is in the metadata of Parquet, and for CSV
    in a file beside it, `F.csv.meta.json`.

    Args:
        model: who answers.
        source: a folder, a table with a column `path`, an image, or a Source.
        out: a new file that ends in .csv or .parquet; its name also names the work folder.
        shard: `(i, n)`, i from 1: only the i-th of n contiguous blocks of the input, whose sizes
            differ by at most one; the outputs of 1..n, one after the other, are the whole.
        part_rows: rows that are finished together.
        overwrite: replace `out` if it is there. Work that was begun goes on in any case.
        facts: more metadata.
        on_progress: called with (rows done, rows in all) at the start and after each batch.

    Returns:
        The counts.

    Raises:
        UserError: if `out` exists or cannot be written, the input is empty, the model has no
            classes, or the parts in the work folder belong to another model or input.
    """
    require(len(model.classes), "model", "one with classes or centres", model.model_id)
    classes = json.dumps(list(model.classes), ensure_ascii=False)
    told = {**_facts(model), "classes": classes, **(facts or {})}
    schema = prediction_schema(model.classes, told)
    return _write("predict", model, source, out, schema, shard, part_rows, overwrite, on_progress)


def embed(
    model: Model,
    source: Source | Path | str,
    out: Path | str,
    *,
    shard: tuple[int, int] = (1, 1),
    part_rows: int = PART_ROWS,
    overwrite: bool = False,
    facts: Mapping[str, str] | None = None,
    on_progress: Progress | None = None,
) -> Written:
    """Write one embedding per image, as the model's space compares it (unit rows for `cosine`).

    Args:
        model: who answers.
        source: see `predict`.
        out: `F.parquet` with a column `embedding` (fixed-size list of float32, null in failed
            rows), or `F.npy` (float32, nan in failed rows) with `F.parquet` in the same row order.
        shard: see `predict`.
        part_rows: see `predict`.
        overwrite: see `predict`.
        facts: see `predict`.
        on_progress: see `predict`.

    Returns:
        The counts.

    Raises:
        UserError: as for `predict`.
    """
    size = {"dim": str(model.embedding_dim), "dtype": "float32"}
    schema = embedding_schema(model.embedding_dim, {**_facts(model), **size, **(facts or {})})
    return _write("embed", model, source, out, schema, shard, part_rows, overwrite, on_progress)


def _facts(model: Model) -> dict[str, str]:
    settings = json.dumps(dict(model.settings), sort_keys=True)
    return {**model.terms, "model_id": model.model_id, "settings": settings}


def _write(
    command: Command,
    model: Model,
    source: Source | Path | str,
    out: Path | str,
    schema: pa.Schema,
    shard: tuple[int, int],
    part_rows: int,
    overwrite: bool,
    on_progress: Progress | None,
) -> Written:
    final = Path(out).absolute()
    suffixes = _SUFFIXES[command]
    require(
        final.suffix in suffixes, "out", f"a name that ends in {' or '.join(suffixes)}", str(out)
    )
    files = (final, final.with_suffix(".parquet")) if final.suffix == ".npy" else (final,)
    inputs = source if isinstance(source, Source) else open_source(source)
    work = opened(
        files,
        inputs,
        command=command,
        model_id=model.model_id,
        settings=model.settings,
        shard=shard,
        part_rows=part_rows,
        overwrite=overwrite,
    )
    with work as parts:
        job, ok, refused, resumed = parts.job, parts.job.ok, parts.job.refused, parts.job.rows
        if ok is None:
            with _disk_errors(parts, out):
                resumed = _answer(model, inputs.root, parts, schema, on_progress)
                _join(parts, files, schema)
            status = Counter[str]()
            for table in _tables(parts, "status"):
                status.update(table.column("status").to_pylist())
            ok, refused = status[OK], status[OUT_OF_SCOPE]
        close(parts, ok, refused)
    return Written(files, job.rows, ok, job.rows - ok - refused, refused, resumed, job.left_out)


@contextmanager
def _disk_errors(parts: Parts, out: Path | str) -> Iterator[None]:
    """Say of a full disk what it has not cost."""
    try:
        yield
    except UserError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise UserError(
            f"out must be on a disk with free space, got {out}: {error.__cause__.strerror} "
            f"(finished parts are kept in {parts.folder.name}: repeat the command to go on)"
        ) from error


def _answer(
    model: Model, root: Path, parts: Parts, schema: pa.Schema, on_progress: Progress | None
) -> int:
    """Make the missing parts; returns the rows that were there already."""
    job = parts.job
    missing = [part for part in range(job.parts) if not parts.finished(part)]
    done = resumed = job.rows - sum(job.rows_of(part) for part in missing)
    tell = on_progress or (lambda done, total: None)
    tell(done, job.rows)
    # One stream over all parts, so that decoding does not wait at the seams. The names go two
    # ways: to the decoders, and into the rows; `tee` keeps those between the two.
    names, to_read = tee(parts.paths_of(frozenset(missing)))
    prepared = prepare_all(model, to_read, root)
    with closing(prepared):  # type: ignore[type-var]
        for part in missing:
            blocks: list[Block] = []
            for block in answer_prepared(model, prepared, job.rows_of(part)):
                # Only a statement about the image is withheld; its embedding states nothing.
                blocks.append(block.withheld() if job.command == "predict" else block)
                done += len(block.ok_B)
                tell(done, job.rows)
            paths = list(islice(names, job.rows_of(part)))
            write_part(parts.file(part), table_of(paths, blocks, model.model_id, schema))
    return resumed


def _tables(parts: Parts, *columns: str) -> Iterator[pa.Table]:
    for part in range(parts.job.parts):
        yield pq.read_table(parts.file(part), columns=list(columns) or None)


def _join(parts: Parts, files: tuple[Path, ...], schema: pa.Schema) -> None:
    """Make the final files in the work folder, then move them out, the table of rows last."""
    made = [parts.folder / f"final{file.suffix}" for file in files]
    if len(files) == 2:
        dim = schema.field(EMBEDDING).type.list_size
        write_npy(made[0], _tables(parts, EMBEDDING), parts.job.rows, dim)
        facts = {**schema.metadata, b"embeddings": files[0].name.encode()}
        rows = schema.remove(schema.get_field_index(EMBEDDING)).with_metadata(facts)
        write_parquet(made[1], _tables(parts, *rows.names), rows)
    elif files[0].suffix == ".csv":
        write_csv(made[0], _tables(parts), schema)
        facts = {key.decode(): value.decode() for key, value in schema.metadata.items()}
        write_json(files[0].with_name(f"{files[0].name}.meta.json"), facts)
    else:
        write_parquet(made[0], _tables(parts), schema)
    for finished, file in zip(made, files, strict=True):
        finished.replace(file)
