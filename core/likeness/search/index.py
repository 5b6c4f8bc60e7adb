"""A search index as a directory: a flat faiss index, the rows it stands for, and what they are.

Legend: Q queries, G gallery rows, D embedding dimension, K neighbours, B queries of one block,
T candidates per query.

`index.faiss` holds the embeddings as the space compares them, `rows.parquet` one row of facts per
embedding in the same order, `index.json` the space, the model and the checksums of the other two.
Answers equal `search.exact.nearest`, ties included: faiss finds candidates, their distances are
then computed exactly, and where its rounding leaves the k-th place open it is asked for more.

faiss is imported where it is used: with its own OpenMP library it takes a while to load.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from likeness.errors import UserError, require
from likeness.files import atomic_directory, sha256_file, whole_directory, write_json
from likeness.search.exact import Neighbours
from likeness.search.space import SPACES, Space, pair_distances, prepared

FORMAT_VERSION = 1
_FAISS, _ROWS, _FACTS = "index.faiss", "rows.parquet", "index.json"
_SLACK = 8
_CANDIDATES = 1 << 22  # per block of queries


@dataclass(frozen=True)
class Index:
    """An opened index.

    Attributes:
        rows: facts of every embedding, in index order.
        space: how distances are taken.
        model_id: the model that made the embeddings.
        facts: what else was kept.
    """

    rows: pd.DataFrame
    space: Space
    model_id: str
    facts: dict[str, Any]
    _flat: Any = field(repr=False)
    _gallery_GD: np.ndarray = field(repr=False)  # a view into `_flat`

    def __len__(self) -> int:
        return int(self._flat.ntotal)

    @property
    def embeddings_GD(self) -> Float[np.ndarray, "G D"]:
        """A copy of the embeddings as the space compares them, in the order of `rows`."""
        return self._gallery_GD.copy()

    def search(
        self,
        query_QD: Shaped[np.ndarray, "Q D"],
        k: int,
        *,
        within_G: Bool[np.ndarray, " G"] | None = None,
    ) -> Neighbours:
        """The k nearest rows of every query, as `search.exact.nearest` defines them.

        Args:
            query_QD: embeddings, raw or normalised.
            k: how many, at most the rows that are looked at.
            within_G: look at these rows only; None: at all rows of the index.

        Raises:
            UserError: if k or the queries' width does not fit, or the queries are refused by
                `prepared`.
        """
        inside = len(self) if within_G is None else int(within_G.sum())
        where = "rows of the index" if within_G is None else "chosen rows of the index"
        require(1 <= k <= inside, "k", f"between 1 and {inside}, the {where}", k)
        query = prepared(query_QD, self.space, "query")
        rule = f"{self._flat.d} numbers a row, as in the index"
        require(query.shape[1] == self._flat.d, "query", rule, query.shape[1])
        tolerance_Q = self._tolerance(query)
        indices_QK = np.empty((len(query), k), np.int64)
        distances_QK = np.empty((len(query), k), np.float32)
        only = None if within_G is None else _selector(within_G)
        left, keep = np.arange(len(query)), min(k + _SLACK, inside)
        while len(left):  # again, deeper, for queries with many near-ties at the k-th place
            still_open = []
            step = max(1, _CANDIDATES // keep)
            for start in range(0, len(left), step):
                block_B = left[start : start + step]
                rough_BT, indices_QK[block_B], distances_QK[block_B] = self._best(
                    query[block_B], k, keep, only
                )
                gap_B = np.abs(rough_BT[:, -1] - rough_BT[:, k - 1])
                still_open.append(block_B[gap_B <= tolerance_Q[block_B]])
            deeper = keep < inside
            left, keep = (
                np.concatenate(still_open) if deeper else left[:0],
                min(4 * keep, inside),
            )
        return Neighbours(indices_QK, distances_QK)

    def table(self, neighbours: Neighbours, names: Sequence[str]) -> pd.DataFrame:
        """Neighbours as a table: query, rank (from 1), distance, then the columns of `rows`.

        Args:
            neighbours: what `search` returned.
            names: one name per query.

        Raises:
            UserError: unless there is one name per query.
        """
        queries, k = neighbours.indices_QK.shape
        require(len(names) == queries, "names", f"{queries}, one per query", len(names))
        found = self.rows.iloc[neighbours.indices_QK.ravel()].reset_index(drop=True)
        lead = {
            "query": np.repeat(np.asarray(names, dtype=object), k),
            "rank": np.tile(np.arange(1, k + 1), queries),
            "distance": neighbours.distances_QK.ravel(),
        }
        return pd.concat([pd.DataFrame(lead), found], axis=1)

    def _best(
        self, query_BD: np.ndarray, k: int, keep: int, only: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Faiss's scores of its `keep` best, and the k best of these by exact distance."""
        # Once anybody has imported faiss.contrib.torch_utils, `search` knows no params.
        search = getattr(self._flat, "search_numpy", self._flat.search)
        rough_BT, column_BT = search(query_BD, keep, params=only)
        row_M = np.repeat(np.arange(len(query_BD)), keep)
        exact_M = pair_distances(query_BD, self._gallery_GD, row_M, column_BT.ravel(), self.space)
        distances_BT = exact_M.reshape(column_BT.shape)
        order_BK = np.lexsort((column_BT, distances_BT), axis=1)[:, :k]
        return (
            rough_BT,
            np.take_along_axis(column_BT, order_BK, axis=1),
            np.take_along_axis(distances_BT, order_BK, axis=1),
        )

    def _tolerance(self, query_QD: np.ndarray) -> Float[np.ndarray, " Q"]:
        """Two of faiss's scores of a query further apart than this are in exact order."""
        # |q|^2 + |g|^2 - 2 q.g or q.g by float32 products, cf. `space.Approximation`; the factors
        # 2 are for the squared distance and for two scores.
        reach_Q = np.linalg.norm(query_QD.astype(np.float64), axis=1) + np.sqrt(
            np.square(self._gallery_GD, dtype=np.float64).sum(axis=1).max()
        )
        return np.asarray(4 * 2.0**-24 * (1.1 * query_QD.shape[1] + 8) * np.square(reach_Q) + 1e-30)


def build_index(
    directory: Path | str,
    embeddings_GD: Shaped[np.ndarray, "G D"],
    rows: pd.DataFrame,
    *,
    space: Space,
    model_id: str,
    facts: Mapping[str, Any] | None = None,
) -> Index:
    """Write an index; the directory appears whole or not at all.

    Args:
        directory: where to. An index that is already there is replaced.
        embeddings_GD: one embedding per row.
        rows: what to know of each (path, label, ...), in the same order.
        space: the space that the model's bundle records.
        model_id: of the model that made the embeddings; queries must come from the same one.
        facts: more to keep in `index.json` (the data's licence, say); plain data.

    Returns:
        The index, opened.

    Raises:
        UserError: if rows and embeddings differ in number, the embeddings are refused by
            `prepared`, the directory holds something else, or the disk is full.
    """
    final = Path(directory)
    gallery_GD = prepared(embeddings_GD, space, "embeddings")
    rule = f"{len(gallery_GD)}, one per embedding"
    require(len(rows) == len(gallery_GD), "rows", rule, len(rows))
    old = whole_directory(final)
    empty = not old.exists() or (old.is_dir() and not any(old.iterdir()))
    ours = (old / _FACTS).is_file()
    require(empty or ours, "out", "a new or empty directory, or an index", str(final))
    with atomic_directory(final) as folder:
        write_index(folder, gallery_GD, rows, space=space, model_id=model_id, facts=facts)
    return open_index(final)


def write_index(
    folder: Path,
    gallery_GD: Float[np.ndarray, "G D"],
    rows: pd.DataFrame,
    *,
    space: Space,
    model_id: str,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write the files of an index; `build_index` around it checks and makes them appear whole.

    Args:
        folder: an empty directory.
        gallery_GD: one embedding per row, as the space compares them; kept bit for bit.
        rows: see `build_index`, as are the others.
        space: see there.
        model_id: see there.
        facts: see there.

    Raises:
        UserError: if the disk is full.
    """
    import faiss

    dim = gallery_GD.shape[1]
    flat = faiss.IndexFlatIP(dim) if space == "dot" else faiss.IndexFlatL2(dim)
    flat.add(gallery_GD)
    try:
        faiss.write_index(flat, str(folder / _FAISS))
    except RuntimeError as error:  # what faiss makes of a full disk
        rule = "out must be a writable place with free space"
        raise UserError(f"{rule}, got {folder.parent}: {error}") from error
    rows.reset_index(drop=True).to_parquet(folder / _ROWS, index=False)
    record = {
        "format_version": FORMAT_VERSION,
        "space": space,
        "model_id": model_id,
        "count": len(gallery_GD),
        "dim": dim,
        "facts": dict(facts or {}),
        "sha256": {name: sha256_file(folder / name) for name in (_FAISS, _ROWS)},
    }
    write_json(folder / _FACTS, record)


def open_index(directory: Path | str, *, model_id: str | None = None) -> Index:
    """Read an index and check it.

    Args:
        directory: what `build_index` wrote.
        model_id: of the model that will embed the queries; None: not checked.

    Raises:
        UserError: if it is no index, a file is missing, damaged or of another index, or it was
            made by another model or a newer version.
    """
    import faiss

    path = whole_directory(directory)
    facts = _read_facts(path)
    made_by = facts["model_id"]
    same_model = model_id is None or made_by == model_id
    require(same_model, "index", f"made by model {model_id}, as the query", f"model {made_by}")
    for name in (_FAISS, _ROWS):
        file = path / name
        whole = file.is_file() and sha256_file(file) == facts["sha256"][name]
        require(whole, "index", f"undamaged, with the {name} it was written with", str(path))
    flat: Any = faiss.read_index(str(path / _FAISS))
    rows = pd.read_parquet(path / _ROWS)
    stored = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)
    return Index(
        rows=rows,
        space=cast(Space, facts["space"]),
        model_id=made_by,
        facts=facts["facts"],
        _flat=flat,
        _gallery_GD=stored,
    )


def _selector(within_G: np.ndarray) -> Any:
    """The rows as faiss wants them: one bit each."""
    import faiss

    untyped = cast(Any, faiss)  # its type stubs do not know that arrays may be given
    bits = np.packbits(within_G, bitorder="little")
    return untyped.SearchParameters(sel=untyped.IDSelectorBitmap(bits))


def _read_facts(path: Path) -> dict[str, Any]:
    require((path / _FACTS).is_file(), "index", "a directory made by `index`", str(path))
    try:
        facts = json.loads((path / _FACTS).read_text(encoding="utf-8"))
        known = facts["format_version"] == FORMAT_VERSION and facts["space"] in SPACES
        complete = (
            known
            and {"model_id", "facts"} <= facts.keys()
            and set(facts["sha256"])
            == {
                _FAISS,
                _ROWS,
            }
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        complete = False
    rule = f"a directory with a readable {_FACTS} of format {FORMAT_VERSION}"
    require(complete, "index", rule, str(path))
    return cast(dict[str, Any], facts)
