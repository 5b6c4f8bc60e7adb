"""Images of one set inside another: the same picture, or one that looks the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from likeness.data.examine import Examined, examine
from likeness.data.findings import Finding
from likeness.data.manifest import Manifest
from likeness.data.twins import twins_of
from likeness.errors import require
from likeness.threads import prefetched


@dataclass(frozen=True)
class Overlap:
    """An image that another set has, too.

    Attributes:
        path: in the set that was asked about.
        other: the name of the other set.
        other_path: the first such image in it.
        how: `same` pixels, or `near`: it looks the same (a perceptual hash can err).
    """

    path: str
    other: str
    other_path: str
    how: Literal["same", "near"]

    def finding(self) -> Finding:
        """It as a warning."""
        verb = "the same picture as" if self.how == "same" else "looks the same as"
        message = f"{verb} {self.other_path} of {self.other}"
        advice = "leave it out of one of them: a test of what was trained on says nothing"
        return Finding("warning", "in-another-set", self.path, message, advice)


def overlap_with(
    manifest: Manifest,
    others: Mapping[str, Manifest],
    *,
    examined: Sequence[Examined] | None = None,
    near_distance: int = 4,
    threads: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Overlap]:
    """Which images of a set are in other sets, by their pixels and by a perceptual hash.

    Every file is read once, those of `examined` not again. Another encoding of the same pixels is
    found as `same`; another size or compression as `near`. Mirrored, turned and cut copies are not
    found, unreadable files passed over.

    Args:
        manifest: the set in question.
        others: further sets by a name for messages.
        examined: what `examine` said of each image of `manifest`, in the table's order.
        near_distance: greatest Hamming distance of the 64-bit difference hashes, 0..10.
        threads: threads that read and decode; the result does not depend on it.
        on_progress: called with (done, total) after each file.

    Returns:
        At most one entry for each image and other set, in the order of paths and of `others`.
    """
    require(0 <= near_distance <= 10, "near_distance", "in 0..10", near_distance)
    sets = [manifest, *others.values()]
    rows = [(place, path) for place, one in enumerate(sets) for path in one.table["path"]]
    records: list[Examined] = [] if examined is None else list(examined)
    known = (0, len(manifest.table))
    require(len(records) in known, "examined", f"of {known[1]} images", len(records))
    files = [sets[place].file(path) for place, path in rows[len(records) :]]
    for done, record in enumerate(prefetched(files, examine, threads=threads), start=1):
        records.append(record)
        if on_progress is not None:
            on_progress(done, len(files))
    pixels = [record.pixels for record in records]  # "" = unreadable
    twins = twins_of([f"{row:09d}" for row in range(len(rows))], records, near_distance)
    same, near = _first_in(rows, pixels), _first_in(rows, twins)
    found = []
    for row, (place, path) in enumerate(rows):
        if place > 0:
            break
        for number, name in enumerate(others, start=1):
            if other := same.get((pixels[row], number)):
                found.append(Overlap(path, name, other, "same"))
            elif other := near.get((twins[row], number)):
                found.append(Overlap(path, name, other, "near"))
    return found


def _first_in(rows: list[tuple[int, str]], keys: list[str]) -> dict[tuple[str, int], str]:
    """The first path by key and set; rows without a key count nowhere."""
    paths: defaultdict[tuple[str, int], str] = defaultdict(str)
    for (place, path), key in zip(rows, keys, strict=True):
        if key:
            paths.setdefault((key, place), path)
    return paths
