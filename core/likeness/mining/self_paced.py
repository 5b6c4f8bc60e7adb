"""Self-paced weighting: a pair counts as far as both its samples are trusted.

Shapes: N = samples of the batch.
"""

from __future__ import annotations

from likeness.batch import Batch
from likeness.errors import require
from likeness.pairs import Pairs
from likeness.selection import Selection


def self_paced(pairs: Pairs, batch: Batch) -> Selection:
    """Pairs weigh v_i v_j, with v the batch's `weight`.

    So the pace of balanced self-paced metric learning (Zhang, Luo, Gu, AAAI 2023) goes with any
    loss of pairs; see `likeness.self_paced` for what finds v, and `SelfPacedLoss` for the method's
    own loss. The paper's abstract confirms that weights of samples enter in pairs; that they do as
    products, and with other losses than its own, is UNCONFIRMED, our reading. A sample of weight 0
    is in no pair.

    Args:
        pairs: the geometry of a batch with itself; nothing of it is read but that.
        batch: its `weight`, shape (N,), in [0, 1].

    Returns:
        The same weights of shape (N, N) for positive and for negative pairs, constants.

    Raises:
        UserError: if the references are not the batch, or it has no `weight`.
    """
    rule = "the batch itself where self_paced weighs pairs"
    require(pairs.is_square, "reference", rule, "other references")
    require(batch.weight is not None, "weight", "given where self_paced weighs pairs", None)
    assert batch.weight is not None
    trust_N = batch.weight.detach()
    pair_NN = trust_N[:, None] * trust_N[None, :]
    return Selection(pair_NN, pair_NN)
