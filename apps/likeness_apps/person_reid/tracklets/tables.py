"""What is written beside the crops: a row per box, a row per track, and what all this is."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from pathlib import Path

from likeness.files import atomic_path, write_text
from likeness_apps.person_reid.tracklets import statuses
from likeness_apps.person_reid.tracklets.ledger import LONGEST, Ledger, Row, Track

BOXES, TRACKS, README = "boxes.csv", "tracks.csv", "README.md"
_TRACK_COLUMNS = (
    *("track", "label", "status", "reason", "boxes", "crops", "tracklets"),
    *("first_frame", "last_frame", "first_time_s", "last_time_s"),
)


def write_boxes(folder: Path, rows: Iterable[Row]) -> None:
    """`boxes.csv`: what became of every box."""
    _write(folder / BOXES, [field.name for field in fields(Row)], map(astuple, rows))


def write_tracks(folder: Path, ledger: Ledger) -> None:
    """`tracks.csv`: what became of every track, in the order in which they first had a box."""
    rows = (_track_row(number, track) for number, track in ledger.tracks.items())
    _write(folder / TRACKS, _TRACK_COLUMNS, rows)


def write_readme(folder: Path, camera: int, ledger: Ledger) -> None:
    """`README.md`: what the set is, and what it is not."""
    labels = [track.label for track in ledger.tracks.values() if track.label]
    text = _README.format(
        first=labels[0] if labels else "none",
        last=labels[-1] if labels else "none",
        tracks=len(labels),
        camera=camera,
        crops=ledger.counts[statuses.OK],
        longest=LONGEST,
    )
    write_text(folder / README, text)


def provisional_labels(folder: Path) -> set[str]:
    """The numbers of tracks that stand for labels in a set of `tracklets`; of other sets none."""
    file = folder / TRACKS
    if not (file.is_file() and (folder / BOXES).is_file()):
        return set()
    with file.open(encoding="utf-8", newline="") as handle:
        return {row.get("label") or "" for row in csv.DictReader(handle)}


def _track_row(number: int, track: Track) -> tuple[object, ...]:
    status = statuses.OK if track.crops else "no-crop"
    reason = ", ".join(f"{count} {name}" for name, count in sorted(track.refused.items()))
    counts = (track.boxes, track.crops, track.tracklets)
    ends = (track.first_frame, track.last_frame, track.first_time_s, track.last_time_s)
    return (number, track.label, status, reason, *counts, *ends)


def _write(file: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    with atomic_path(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)


_README = """\
# Tracklets of one camera

{crops} crops of {tracks} tracks, camera {camera}, cut from one video by `likeness person-reid
tracklets`, in the layout of MARS: `bbox_test/<number>/<number>C<camera>T<tracklet>F<frame>.jpg`.

**The numbers are not identities.** Nobody has said who is in the picture. Every track of the
tracker has a provisional number of its own ({first} to {last}). A tracker loses people: two numbers
may be one person, and one number may be two where the tracker jumped. So no figure of right and
wrong can be computed from this set before a person has named the tracks.

- `tracks.csv`: the tracker's own number of each track, its provisional number (`label`), how many
  boxes it had and how many crops were made of them, and where in the video these begin and end.
- `boxes.csv`: every box as it was given, what became of it (`status`, `reason`), the crop's file
  and its bounds in the video. Frames are numbered as the table of boxes numbers them; a frame that
  could not be decoded keeps its number. Times are the video's own.
- A tracklet has at most {longest} frames, as the names have three digits for them: a longer track
  goes on in the tracklet with the next number, under the same provisional number. `F` counts the
  crops of the tracklet, not the frames of the video.
- To put the sets of several cameras into one folder, make each with another first number
  (`--first-id`), or the same number will stand for different people.

These are pictures of people, and what is computed from them to tell people apart is biometric data:
keep them only as long as their purpose needs, and do not pass them on without a legal basis.
"""
