"""Labels that are no identity."""

from __future__ import annotations

DISTRACTOR = "distractor"  # somebody or something that no query asks for; stays in the gallery
JUNK = "junk"  # neither right nor wrong: left out of every ranking
NOBODY = (DISTRACTOR, JUNK)
