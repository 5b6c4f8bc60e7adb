"""The pairs of an N-pair batch: one anchor and one positive of every class.

Shapes: N = samples of the batch.
"""

from __future__ import annotations

from likeness.batch import Batch
from likeness.errors import require
from likeness.pairs import Pairs
from likeness.selection import Selection


def n_pairs(pairs: Pairs, batch: Batch) -> Selection:
    """The first sample of each class as anchor, against the second of every class (Sohn 2016).

    With a batch of two samples of each class (`sampler: class_balanced`, `per_class: 2`) this is
    the paper's batch: N pairs from 2N images, where the positives of the other classes are the
    negatives. Further samples of a class are left out, as in pytorch-metric-learning. Which sample
    is first is the order of the batch: the one selection here that depends on it.

    Args:
        pairs: the geometry of a batch with itself; only its labels are read.
        batch: not read.

    Returns:
        Bool masks of shape (N, N): one positive in the row of each anchor. Rows of other samples
        are empty.

    Raises:
        UserError: if the references are not the batch, or an image has several labels.
    """
    rule = "the batch itself where n_pairs chooses"
    require(pairs.is_square, "reference", rule, "other references")
    labels = pairs.labels
    rule = "of shape (N,) for n_pairs: one class per image"
    require(labels.ndim == 1, "labels", rule, tuple(labels.shape))
    place_N = (labels[:, None] == labels[None, :]).tril(-1).sum(1)  # samples of its class before
    anchor_to_positive = (place_N == 0)[:, None] & (place_N == 1)[None, :]
    positive_NN = anchor_to_positive & pairs.positive
    is_pair_N1 = positive_NN.any(1, keepdim=True)
    return Selection(positive_NN, anchor_to_positive & pairs.negative & is_pair_N1)
