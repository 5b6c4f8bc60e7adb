"""The tables that `predict` and `embed` write: columns, parts, and the final files.

Final files are made part by part: memory holds one part, however many there are.

Legend: B = rows, C = classes, D = embedding dimension.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float

from likeness.files import atomic_path
from likeness.inference.blocks import Block
from likeness.inference.sources import printable

EMBEDDING = "embedding"
_QUOTED = re.compile('[",\r\n]')


def probability_column(name: str) -> str:
    """The column that holds the probability of a class."""
    return f"p_{name}"


def prediction_schema(classes: Sequence[str], facts: Mapping[str, str]) -> pa.Schema:
    """path, status, reason, label, one `p_<class>` per class, model_id.

    Args:
        classes: the model's classes, in its order.
        facts: kept as the schema's metadata.
    """
    probabilities = [(probability_column(name), pa.float32()) for name in classes]
    texts = [(name, pa.string()) for name in ("path", "status", "reason", "label")]
    return pa.schema([*texts, *probabilities, ("model_id", pa.string())], metadata=dict(facts))


def embedding_schema(dim: int, facts: Mapping[str, str]) -> pa.Schema:
    """path, status, reason, embedding (D float32 numbers; null in failed rows), model_id."""
    texts = [(name, pa.string()) for name in ("path", "status", "reason")]
    vector = (EMBEDDING, pa.list_(pa.float32(), dim))
    return pa.schema([*texts, vector, ("model_id", pa.string())], metadata=dict(facts))


def table_of(
    paths: Sequence[str], blocks: Sequence[Block], model_id: str, schema: pa.Schema
) -> pa.Table:
    """The rows of one part.

    Args:
        paths: of the rows of all blocks, in order.
        blocks: the answers, without those that are withheld.
        model_id: repeated in every row.
        schema: one of the two above.
    """
    columns: dict[str, pa.Array] = {
        "path": pa.array([printable(path) for path in paths], pa.string()),
        "status": _texts([block.status for block in blocks]),
        "reason": _texts([[printable(text) for text in block.reasons] for block in blocks]),
        "label": _texts([block.labels for block in blocks]),
        "model_id": pa.array([model_id] * len(paths), pa.string()),
    }
    if EMBEDDING in schema.names:
        columns[EMBEDDING] = _vectors(blocks, schema.field(EMBEDDING).type)
    probabilities = [name for name in schema.names if name not in columns]
    for index, name in enumerate(probabilities):
        column = np.concatenate([block.probabilities_BC[:, index] for block in blocks])
        columns[name] = pa.array(column, pa.float32(), from_pandas=True)  # nan becomes null
    return pa.table([columns[name] for name in schema.names], schema=schema)


def write_part(path: Path, table: pa.Table) -> None:
    """One part, atomically."""
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def write_parquet(path: Path, tables: Iterator[pa.Table], schema: pa.Schema) -> None:
    """The parts as one Parquet file, one row group each; columns outside `schema` are dropped."""
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for table in tables:
            # A schema carries the facts, which the parts carry too: cast to drop and to keep.
            writer.write_table(table.select(schema.names).cast(schema))


def write_csv(path: Path, tables: Iterator[pa.Table], schema: pa.Schema) -> None:
    """The parts as one CSV file (UTF-8, comma; the shortest digits that give the same float32)."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as handle,
    ):
        handle.write(",".join(_cell(name) for name in schema.names) + "\n")
        for table in tables:
            columns = [_cells(table.column(name)) for name in schema.names]
            handle.writelines(",".join(row) + "\n" for row in zip(*columns, strict=True))


def write_npy(path: Path, tables: Iterator[pa.Table], rows: int, dim: int) -> None:
    """The embeddings as one float32 array, (rows, dim), nan where a row failed."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)}
        np.lib.format.write_array_header_1_0(handle, header)
        for table in tables:
            handle.write(embeddings_of(table, dim).astype("<f4").tobytes())


def embeddings_of(table: pa.Table, dim: int) -> Float[np.ndarray, "B D"]:
    """The embedding column of a table as an array, nan where a row failed."""
    column = table.column(EMBEDDING).combine_chunks()
    full_BD = np.full((len(column), dim), np.nan, dtype=np.float32)
    there_B = column.is_valid().to_numpy(zero_copy_only=False)
    full_BD[there_B] = column.flatten().to_numpy().reshape(-1, dim)  # flatten leaves nulls out
    return full_BD


def _texts(rows: Sequence[Sequence[str]]) -> pa.Array:
    return pa.array([text for block in rows for text in block], pa.string())


def _vectors(blocks: Sequence[Block], kind: pa.DataType) -> pa.Array:
    values_BD = np.concatenate([block.embeddings_BD for block in blocks])
    failed_B = ~np.concatenate([block.ok_B for block in blocks])
    return pa.FixedSizeListArray.from_arrays(
        pa.array(values_BD.ravel(), pa.float32()), type=kind, mask=pa.array(failed_B)
    )


def _cells(column: pa.ChunkedArray) -> list[str]:
    texts = [text or "" for text in pc.cast(column, pa.string()).to_pylist()]
    return [_cell(text) for text in texts] if pa.types.is_string(column.type) else texts


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text
