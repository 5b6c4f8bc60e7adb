"""One read for two questions: which picture is this, and what does the model say of it.

Legend: A = files that were answered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from likeness.data.decode import read_bytes
from likeness.inference.blocks import Block, Failure, Model, answer_prepared, attempt
from likeness.threads import prefetched


class Read(NamedTuple):
    """One file, read once.

    Attributes:
        row: its place among the paths.
        sha256: of its bytes; "" if it cannot be read.
        prepared: the network's input, a Failure, or None if it was not wanted.
    """

    row: int
    sha256: str
    prepared: Any


def read_hashed(
    model: Model,
    paths: Iterable[str],
    root: Path,
    *,
    wanted: Callable[[int, str], bool] = lambda row, sha256: True,
) -> Iterator[Read]:
    """Read every file once: its hash, and the image too where the hash is one that is wanted.

    Args:
        model: who prepares the images.
        paths: relative to `root`.
        root: a folder.
        wanted: asked with the row and the hash of every readable file, from several threads.

    Yields:
        One `Read` per path, in order; memory is bounded as in
        `blocks.prepare_all`.
    """

    def read(numbered: tuple[int, str]) -> Read:
        row, path = numbered
        data = attempt(read_bytes, root / path, root) if path else Failure("no path")
        if isinstance(data, Failure):
            return Read(row, "", data)
        sha256 = hashlib.sha256(data).hexdigest()
        if not wanted(row, sha256):
            return Read(row, sha256, None)
        return Read(row, sha256, attempt(partial(model.prepare, beside=root / path), data))

    ahead = model.batch_size + model.threads
    return prefetched(enumerate(paths), read, threads=model.threads, ahead=ahead)


class Hashed(NamedTuple):
    """Answers to the wanted ones among many files.

    Attributes:
        sha256: of every file; "" where it cannot be read.
        rows_A: the places of the answered files: those wanted, and those that cannot be read.
        blocks: the answers to these, one block per batch.
    """

    sha256: list[str]
    rows_A: Int[np.ndarray, " A"]
    blocks: list[Block]


def answer_hashed(
    model: Model,
    paths: Sequence[str],
    root: Path,
    *,
    wanted: Callable[[int, str], bool] = lambda row, sha256: True,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Hashed:
    """Hash every file and answer the wanted ones, each file being read once.

    Args:
        model: who answers.
        paths: relative to `root`.
        root: a folder.
        wanted: see `read_hashed`.
        on_progress: called with (done, total) after each file.
    """
    hashes: list[str] = []
    rows: list[int] = []

    def chosen() -> Iterator[Any]:
        for read in reads:
            hashes.append(read.sha256)
            on_progress(len(hashes), len(paths))
            if read.prepared is not None:
                rows.append(read.row)
                yield read.prepared

    with closing(read_hashed(model, paths, root, wanted=wanted)) as reads:  # type: ignore[type-var]
        blocks = list(answer_prepared(model, chosen()))
    return Hashed(hashes, np.array(rows, dtype=np.int64), blocks)
