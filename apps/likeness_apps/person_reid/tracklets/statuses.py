"""What can become of a box: `ok`, or why there is no crop of it."""

from __future__ import annotations

OK = "ok"
MALFORMED = "malformed"  # no numbers, or too few
NO_TRACK = "no-track"  # a detection without a track's number
LOW_CONFIDENCE = "low-confidence"
TWICE = "twice"  # the same track once more in the same frame
EMPTY_BOX = "empty-box"
OUTSIDE = "outside"  # hardly anything of the box is in the picture
UNREADABLE = "unreadable-frame"
NO_SUCH_FRAME = "no-such-frame"  # the video ends before it
