"""General pair weighting as a miner: the weights of pairs that a loss implies.

Shapes: N = anchors, M = references.
"""

from __future__ import annotations

from likeness.batch import Batch
from likeness.errors import require
from likeness.losses.base import PairLoss
from likeness.losses.pair_weighting import pair_weights
from likeness.pairs import Pairs
from likeness.selection import Selection


def general_pair_weighting(pairs: Pairs, batch: Batch, *, loss: PairLoss) -> Selection:
    """Pairs weigh as much as another loss makes of them (Wang et al., CVPR 2019).

    See `losses.pair_weighting.pair_weights`, here without what is below 0: a selection knows no
    negative weights. With the loss `pair_weighting` the gradient is that of `loss` (where none was
    below 0); with another loss of pairs its own weighting comes on top. Costs one forward and
    backward pass of `loss` on the batch's matrices.

    Args:
        pairs: the geometry, in the space of `loss`.
        batch: not read.
        loss: what the weights are read off.

    Returns:
        Weights >= 0 of shape (N, M), constants.

    Raises:
        UserError: if the spaces differ.
    """
    require(pairs.space == loss.space, "space of the weighting loss", pairs.space, loss.space)
    positive_NM, negative_NM = pair_weights(loss, pairs)
    return Selection(positive_NM.clamp_min(0), negative_NM.clamp_min(0))
