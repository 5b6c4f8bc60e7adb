"""Easy-positive mining: an anchor need only stay near its nearest positive.

Shapes: N = anchors, M = references.
"""

from __future__ import annotations

from typing import Literal

from likeness.batch import Batch
from likeness.errors import require
from likeness.mining.hard import farness, marked_columns
from likeness.pairs import Pairs
from likeness.rows import extreme
from likeness.selection import Selection

Negatives = Literal["semi_hard", "hard"]
NEGATIVES: tuple[Negatives, ...] = ("semi_hard", "hard")


def easy_positive(pairs: Pairs, batch: Batch, *, negatives: Negatives = "semi_hard") -> Selection:
    """The nearest positive and a hard negative of every anchor (Xuan et al., WACV 2020).

    - `hard`: the nearest negative ("EPHN").
    - `semi_hard`: the nearest negative that is strictly farther than the positive ("EPSHN").

    A class may then lie in several places, and none is pulled into a point. Of equals the first
    column is taken. An anchor without either pair selects nothing. The paper's loss is `nt_xent`
    on what this selects. The authors' code drops positives of cosine above 0.9999, to leave out the
    anchor itself; here the sample's id does, and exact duplicates count.

    Args:
        pairs: the geometry; in the `dot` space near means a large inner product.
        batch: not read.
        negatives: see above.

    Returns:
        Bool masks with at most one positive and one negative in each row.

    Raises:
        UserError: if an argument is out of range.
    """
    check_easy_positive(negatives)
    seen = pairs.detach()
    far_NM = farness(seen)
    if not far_NM.shape[1]:
        return Selection(seen.positive, seen.negative)
    positive_N, has_positive_N = extreme(far_NM, seen.positive, farthest=False)
    allowed_NM = seen.negative
    if negatives == "semi_hard":
        allowed_NM = allowed_NM & (far_NM > far_NM.gather(1, positive_N[:, None]))
    negative_N, has_negative_N = extreme(far_NM, allowed_NM, farthest=False)
    both_N = has_positive_N & has_negative_N
    return Selection(
        marked_columns(seen.positive, positive_N, both_N),
        marked_columns(seen.negative, negative_N, both_N),
    )


def check_easy_positive(negatives: str) -> None:
    """Raise UserError unless the rule is known."""
    require(negatives in NEGATIVES, "negatives", f"one of {', '.join(NEGATIVES)}", negatives)
