"""The rules in which evaluations of re-identification differ, and what they are in words.

Published figures of one model differ by points because protocols differ in rules that seldom are
written down. An item that a rule takes out is neither right nor in anybody's way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from likeness.errors import require
from likeness.evaluation.ranking import PrecisionCurve

SameCamera = Literal["ranked", "same identity removed", "removed"]
Unmatched = Literal["skipped", "zero"]

_CHOICES = {"same_camera": SameCamera, "curve": PrecisionCurve, "unmatched": Unmatched}
_SWITCHES = ("queries_in_gallery", "junk_removed", "distractors_kept", "pairs_keep_junk")
_SAME_CAMERA = {
    "ranked": "ranked like all others",
    "same identity removed": "removed if of the query's identity, ranked if of others",
    "removed": "removed, whoever they are of",
}
_CURVES = {
    "step": "steps: mean of the precision at every true match",
    "trapezoid": "trapezoids: at every true match the mean of the precision there and one rank "
    "earlier, which is 1 before the first",
}
_UNMATCHED = {
    "skipped": "left out of every figure, and counted beside it",
    "zero": "count as 0 in every figure",
}


@dataclass(frozen=True)
class RankingRules:
    """What is ranked for a query, and what is counted.

    Attributes:
        queries_in_gallery: queries are in the gallery of the others (never in their own).
        same_camera: what of the query's own camera its gallery keeps: all ("ranked"), all but its
            own identity ("same identity removed"), or nothing ("removed").
        junk_removed: junk is in no gallery; else it is there as a wrong answer.
        distractors_kept: items of nobody whom a query asks for are in the gallery, as wrong
            answers; else in none.
        curve: how AP is drawn, see `ranking.average_precision`.
        unmatched: a query without a true match in its gallery is left out of all figures, or counts
            as 0 in all of them.
        pairs_keep_junk: in the matrices of camera pairs junk is a wrong answer, whatever
            `junk_removed` says.

    Raises:
        UserError: for any other value.
    """

    queries_in_gallery: bool = False
    same_camera: SameCamera = "same identity removed"
    junk_removed: bool = True
    distractors_kept: bool = True
    curve: PrecisionCurve = "step"
    unmatched: Unmatched = "skipped"
    pairs_keep_junk: bool = False

    def __post_init__(self) -> None:
        for name, kind in _CHOICES.items():
            known, chosen = get_args(kind), getattr(self, name)
            require(chosen in known, name, f"one of {', '.join(known)}", chosen)
        for name in _SWITCHES:
            chosen = getattr(self, name)
            require(isinstance(chosen, bool), name, "true or false", chosen)

    def words(self) -> dict[str, str]:
        """The rules as a reader of results needs them."""
        wrong, removed = "kept, as wrong answers", "removed"
        others = "with the other queries" if self.queries_in_gallery else "without queries"
        return {
            "gallery": f"{others}; a query never meets itself",
            "items of the query's camera": _SAME_CAMERA[self.same_camera],
            "junk": removed if self.junk_removed else wrong,
            "distractors": wrong if self.distractors_kept else removed,
            "average precision": _CURVES[self.curve],
            "queries without a true match": _UNMATCHED[self.unmatched],
            "junk in camera pairs": wrong if self.pairs_keep_junk else "as above",
            "ties": "equal float32 distances are ranked by the order of the table",
        }
