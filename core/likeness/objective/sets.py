"""An objective on the sets of a batch: frames of one sequence, views of one object.

Shapes: N = samples of the (global) batch, S = sets of them, D = embedding dimension, C = classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from torch import Tensor, nn

from likeness.batch import Batch
from likeness.errors import require
from likeness.mining.soft import attention
from likeness.models.heads import CLASS, EMBEDDING
from likeness.models.sets import pool_sets, pool_weighted
from likeness.objective.terms import Heads, ObjectiveResult, head_of

if TYPE_CHECKING:
    from likeness.objective.weighted_sum import Objective

SetPooling = Literal["mean", "max", "attention"]


class SetOutputs(NamedTuple):
    """The sets of a batch as a model's output would be: embeddings (S, D), logits (S, C)."""

    embeddings: dict[str, Tensor]
    logits: dict[str, Tensor]


class SetClassifier(nn.Linear):
    """The class layer of sets, D -> C; the optimiser multiplies its rate by `lr_mult`."""

    def __init__(self, dim: int, classes: int, *, lr_mult: float = 1.0) -> None:
        super().__init__(dim, classes)
        self.lr_mult = lr_mult


class SetLevel(nn.Module):
    """An objective on the sets of a batch: samples of one `Batch.sequence` pooled into one row.

    Wang et al. 2019 (official code of OSM + CAA) train on frames and on tracklets together, a
    tracklet being the attention-weighted mean of its frames' raw embeddings, with a class layer of
    its own. That layer belongs to the objective: it is trained and saved with the run, and no part
    of the model that the run is for.

    Args:
        objective: on the sets; it reads the embeddings of `head` and the logits `class`.
        head: whose raw embeddings are pooled.
        classifier: from a pooled embedding to the logits of its set, or None.
        pooling: `mean`, `max`, or `attention`, which weighs a sample by how sure its own logits
            are of its class (`likeness.mining.soft.attention`, the official code's).
        attention_head: the logits that `attention` reads.
        sigma: width of `attention`, > 0.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        head: str = EMBEDDING,
        classifier: SetClassifier | None = None,
        pooling: SetPooling = "mean",
        attention_head: str = CLASS,
        sigma: float = 0.68,
    ) -> None:
        super().__init__()
        require(sigma > 0, "sigma", "> 0", sigma)
        self.objective, self.classifier = objective, classifier
        self.head, self.attention_head = head, attention_head
        self.pooling, self.sigma = pooling, sigma

    def forward(self, outputs: Heads, batch: Batch, *, epoch: float = 0.0) -> ObjectiveResult:
        """The objective of the batch's sets; see `Objective.forward`.

        Raises:
            UserError: if a head is missing, or the batch has no `sequence`.
        """
        of_sets: ObjectiveResult = self.objective(*self.pool(outputs, batch), epoch=epoch)
        return of_sets

    def pool(self, outputs: Heads, batch: Batch) -> tuple[SetOutputs, Batch]:
        """The sets' embeddings and logits, and what is known of them; errors as in `forward`."""
        set_N, of_sets = batch.of_sets()
        sets = len(of_sets.labels)
        rows_ND = head_of(outputs.embeddings, self.head, "embeddings")
        if self.pooling == "attention":
            logits_NC = head_of(outputs.logits, self.attention_head, "logits")
            known = logits_NC.detach(), batch.labels
            weight_N = attention(*known, variant="caffe", sigma=self.sigma)
            pooled_SD = pool_weighted(rows_ND, set_N, weight_N, sets=sets)
        else:
            pooled_SD = pool_sets(rows_ND, set_N, sets=sets, how=self.pooling)
        logits = {} if self.classifier is None else {CLASS: self.classifier(pooled_SD)}
        return SetOutputs({self.head: pooled_SD}, logits), of_sets
