"""The pairs that the relaxed feasible sets of alternating projections speak of.

Shapes: N = samples of the batch.
"""

from __future__ import annotations

from typing import Literal

from likeness.batch import Batch
from likeness.errors import require
from likeness.pairs import Pairs
from likeness.selection import Selection

RepresentativeSide = Literal["either", "anchor"]
SIDES: tuple[RepresentativeSide, ...] = ("either", "anchor")


def with_representative(
    pairs: Pairs, batch: Batch, *, side: RepresentativeSide = "either"
) -> Selection:
    """Pairs of which one side is the representative of its class.

    A feasible set of alternating projections (Can, Gurbuz, Alatan, ICIP 2021) bounds the distances
    between all data and the chosen samples, so pairs without a chosen sample say nothing of it.
    That the paper leaves them out of its loss is UNCONFIRMED: our reading. Without this miner the
    usual loss of all pairs is taken on the same batches.

    Args:
        pairs: the geometry of a batch with itself; nothing of it is read but that.
        batch: its `representative`, bool of shape (N,).
        side: `either`, or `anchor`: only the rows of representatives, the form for triplets.

    Returns:
        The same bool masks of shape (N, N) for positive and for negative pairs.

    Raises:
        UserError: if the references are not the batch, it names no representatives, or the side
            is unknown.
    """
    require(side in SIDES, "side", f"one of {', '.join(SIDES)}", side)
    rule = "the batch itself where with_representative chooses"
    require(pairs.is_square, "reference", rule, "other references")
    rule = "given where with_representative chooses (by the sampler 'representatives')"
    require(batch.representative is not None, "representative", rule, None)
    assert batch.representative is not None
    marked_N = batch.representative
    chosen_NN = marked_N[:, None].expand(-1, len(marked_N))
    if side == "either":
        chosen_NN = chosen_NN | marked_N[None, :]
    return Selection(chosen_NN, chosen_NN)
