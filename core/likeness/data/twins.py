"""Near duplicates: pictures that look the same, though no byte may be equal.

Legend: N images, P candidate pairs, T values of a thumbnail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float32, UInt8, UInt64

from likeness.data.examine import THUMB, Examined

_CORRELATION = 0.95  # recompressed and rescaled copies stay above it, different scenes do not
_FLAT = 2.0  # thumbnails whose grey values vary less (of 255) are too plain to compare
_BLOCK = 65_536  # candidate pairs that are compared at once


def twins_of(paths: Sequence[str], records: Sequence[Examined], distance: int) -> list[str]:
    """For each row the first path of its cluster of near duplicates, or "".

    Args:
        paths: sorted.
        records: of the same files.
        distance: greatest Hamming distance of the fingerprints, 0..10.
    """
    first_of: dict[str, int] = {}  # one row stands for all rows with the same pixels
    for row, record in enumerate(records):
        if record.status == "ok":
            first_of.setdefault(record.pixels, row)
    rows = np.fromiter(first_of.values(), np.int64, len(first_of))
    thumbs = np.frombuffer(b"".join(records[row].thumb for row in rows), np.uint8)
    thumbs_NT = thumbs.reshape(len(rows), THUMB * THUMB)
    plain_N = thumbs_NT.std(axis=1) < _FLAT
    rows, thumbs_NT = rows[~plain_N], thumbs_NT[~plain_N]
    hashes_N = np.array([records[row].fingerprint for row in rows], np.uint64)
    parent = np.arange(len(rows))

    def find(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = int(parent[node])
        return node

    for left_P, right_P in near_pairs(hashes_N, distance):
        alike_P = _correlation(thumbs_NT[left_P], thumbs_NT[right_P]) >= _CORRELATION
        for left, right in zip(left_P[alike_P], right_P[alike_P], strict=True):
            low, high = sorted((find(int(left)), find(int(right))))
            parent[high] = low  # rows are in path order, so the first path is the root
    roots = [find(node) for node in range(len(rows))]
    sizes = Counter(roots)
    name_of = {
        records[row].pixels: paths[rows[root]]
        for row, root in zip(rows, roots, strict=True)
        if sizes[root] > 1
    }
    return [name_of.get(record.pixels, "") for record in records]


def _correlation(
    left_PT: UInt8[np.ndarray, "P T"], right_PT: UInt8[np.ndarray, "P T"]
) -> Float32[np.ndarray, " P"]:
    left = left_PT.astype(np.float32) - left_PT.mean(axis=1, dtype=np.float32, keepdims=True)
    right = right_PT.astype(np.float32) - right_PT.mean(axis=1, dtype=np.float32, keepdims=True)
    scale = np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    correlation: np.ndarray = (left * right).sum(axis=1) / scale
    return correlation


def near_pairs(
    hashes_N: UInt64[np.ndarray, " N"], distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of 64-bit hashes that differ in at most `distance` bits.

    Of distance + 1 bit fields, one must be equal (pigeonhole): only hashes that share a field are
    compared, in a sorted list, so nothing of size N x N is ever built. A pair may come repeatedly.

    Args:
        hashes_N: the hashes.
        distance: >= 0.

    Yields:
        Two index arrays, each at most `_BLOCK` long, the pairs of one block.
    """
    edges = np.linspace(0, 64, distance + 2).astype(int)
    for low, high in pairwise(edges.tolist()):
        field = (hashes_N >> np.uint64(low)) & np.uint64(2 ** (high - low) - 1)
        order = np.argsort(field, kind="stable")
        field = field[order]
        active = np.arange(len(order) - 1)
        offset = 1
        while len(active):  # all pairs that lie `offset` apart in a run of equal fields
            active = active[active + offset < len(order)]
            active = active[field[active + offset] == field[active]]
            for start in range(0, len(active), _BLOCK):
                part = active[start : start + _BLOCK]
                left, right = order[part], order[part + offset]
                close = np.bitwise_count(hashes_N[left] ^ hashes_N[right]) <= distance
                yield left[close], right[close]
            offset += 1
