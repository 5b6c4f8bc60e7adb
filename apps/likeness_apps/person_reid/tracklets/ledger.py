"""What is known of each track so far: its number in the set, and how many crops it has.

A ledger is what its rows make of it: read again in the same order, they give the same one. So a
killed call needs nothing but its finished rows to go on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from likeness_apps.person_reid.tracklets import statuses

LONGEST = 999  # crops of a tracklet: MARS has three digits for the frame


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a box, or of a frame that could not be read; the fields are columns.

    Attributes:
        path: of the crop, relative to the set; "" = there is none.
        status: one of `statuses`.
        reason: why it is not ok; of a crop, what else to know.
        frame: number in the video, as the detections count; None if that is not known.
        time_s: of the frame, in seconds; None if there is no such frame.
        track: the tracker's number.
        label: the track's provisional number in the set, four digits; "" without a crop.
        tracklet: name in the set; "" without a crop.
        left: of the box, in pixels, as it was given; likewise top, width and height.
        top: see left.
        width: see left.
        height: see left.
        confidence: as it was given.
        crop_left: first column of the crop; the next three bound it likewise, in whole pixels.
        crop_top: its first row.
        crop_right: the column behind its last.
        crop_bottom: the row behind its last.
    """

    path: str
    status: str
    reason: str
    frame: int | None
    time_s: float | None
    track: int | None = None
    label: str = ""
    tracklet: str = ""
    left: float | None = None
    top: float | None = None
    width: float | None = None
    height: float | None = None
    confidence: float | None = None
    crop_left: int | None = None
    crop_top: int | None = None
    crop_right: int | None = None
    crop_bottom: int | None = None


@dataclass
class Track:
    """One track of the tracker.

    Attributes:
        label: provisional number in the set; "" = no crop yet.
        boxes: how many were given.
        crops: how many were made.
        first_frame: of the crops, as the detections count.
        last_frame: likewise.
        first_time_s: likewise, in seconds.
        last_time_s: likewise.
        refused: boxes without a crop, by status.
    """

    label: str = ""
    boxes: int = 0
    crops: int = 0
    first_frame: int | None = None
    last_frame: int | None = None
    first_time_s: float | None = None
    last_time_s: float | None = None
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def tracklets(self) -> int:
        """Into how many tracklets of at most `LONGEST` frames its crops are parted."""
        return -(-self.crops // LONGEST)


class Ledger:
    """All tracks so far, and what became of all boxes."""

    def __init__(self, camera: int, first_id: int) -> None:
        self._camera = camera
        self._next = first_id
        self.tracks: dict[int, Track] = {}
        self.counts: Counter[str] = Counter()

    def name(self, track: int) -> tuple[str, str, str]:
        """Label, tracklet and path of the track's next crop; numbers only."""
        known = self.tracks.get(track, Track())
        label = known.label or f"{self._next:04d}"
        tracklet = f"{label}C{self._camera}T{known.crops // LONGEST + 1:04d}"
        path = f"bbox_test/{label}/{tracklet}F{known.crops % LONGEST + 1:03d}.jpg"
        return label, tracklet, path

    def note(self, row: Row) -> None:
        """Take a row into the account."""
        self.counts[row.status] += 1
        if row.track is None:
            return
        track = self.tracks.setdefault(row.track, Track())
        track.boxes += 1
        if row.status != statuses.OK:
            track.refused[row.status] += 1
            return
        if not track.label:
            track.label = row.label
            track.first_frame, track.first_time_s = row.frame, row.time_s
            self._next += 1
        track.crops += 1
        track.last_frame, track.last_time_s = row.frame, row.time_s
