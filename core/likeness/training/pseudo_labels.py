"""Training without labels, in rounds: the clusters of the shared embeddings are the classes.

Shapes: N = training images, B = images of a batch, D = embedding dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from likeness.config import Spec
from likeness.errors import require
from likeness.evaluation.clustering import kmeans
from likeness.models.heads import EMBEDDING
from likeness.objective import Objective
from likeness.pairs import Space
from likeness.sampling import ClassBalancedSpec, ShuffledSpec, build_plan
from likeness.subclasses import match_slots
from likeness.training.seeds import CLUSTER, stream_seed

ClusterSampler = ShuffledSpec | ClassBalancedSpec


class PseudoLabelSpec(Spec):
    """Labels found anew in rounds, in place of the data's; see `PseudoLabels`.

    Attributes:
        clusters: K, how many classes the images are divided into, >= 2; at most half as many as
            there are images.
        epochs_per_round: >= 1; 1 as in DeepCluster.
        restarts: k-means runs of a round, of which the tightest is kept, >= 1; ours.
    """

    clusters: int = Field(ge=2)
    epochs_per_round: int = Field(default=1, ge=1)
    restarts: int = Field(default=3, ge=1)

    def begins(self, epoch: int) -> bool:
        """Whether a round begins with this epoch, counted from 0."""
        return epoch % self.epochs_per_round == 0


class PseudoLabels:
    """The epoch hook that makes labels of clusters (DeepCluster, Caron et al., ECCV 2018).

    Each round begins with k-means over the embeddings of all training images as they are, the
    first before the first step. Losses, miners and samplers then know these labels only: any loss
    trains without labels, as contrastive Bayesian learning does in its second scenario (Kan et al.,
    TPAMI 2022; how its clusters are found is UNCONFIRMED).

    Clusters get the numbers of the earlier ones that they share most images with (the Hungarian
    method, `match_slots`), so that what a loss keeps of a class still fits it; DeepCluster starts
    its class layer anew instead. Every process finds the same for itself, from equal embeddings.

    Args:
        spec: the options.
        objective: whose memories are told of new labels.
        images: N.
        space: how the model's embeddings are compared.
        seed: of the run.

    Raises:
        UserError: if there are fewer than two images for each cluster.
    """

    def __init__(
        self, spec: PseudoLabelSpec, objective: Objective, *, images: int, space: Space, seed: int
    ) -> None:
        rule = f"<= {images // 2}, half of the training images"
        require(2 * spec.clusters <= images, "pseudo_labels.clusters", rule, spec.clusters)
        self._spec, self._objective, self._space, self._seed = spec, objective, space, seed
        # In turn; no step sees these, for the first round begins before the first step.
        self._labels_N = torch.arange(images) % spec.clusters

    @property
    def pseudo_labels_N(self) -> Int[Tensor, " N"]:
        """The label of each training image now, in [0, K), int64, on the host."""
        return self._labels_N

    def of(self, rows: Sequence[int]) -> Int[Tensor, " B"]:
        """The labels of a batch of rows, on the host."""
        return self._labels_N[list(rows)]

    def wants_embeddings(self, epoch: int) -> bool:
        """At the start of a round."""
        return self._spec.begins(epoch)

    def on_epoch_start(
        self, epoch: int, embeddings: Mapping[str, Tensor] | None, labels: Tensor
    ) -> None:
        """Begin a round, where one begins; the `labels` of the data are not read."""
        if embeddings is None or not self._spec.begins(epoch):
            return
        cluster_N = kmeans(
            embeddings[EMBEDDING].cpu().numpy(),
            self._spec.clusters,
            space=self._space,
            seed=stream_seed(self._seed, CLUSTER, epoch) % 2**32,
            restarts=self._spec.restarts,
        )
        if epoch > 0:
            cluster_N = match_slots(cluster_N, self._labels_N.numpy(), slots=self._spec.clusters)
        self._labels_N = torch.from_numpy(cluster_N)
        self._objective.relabel(self._labels_N)

    def state_dict(self) -> Mapping[str, Tensor]:
        """The labels."""
        return {"labels": self._labels_N}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""
        self._labels_N = state["labels"].clone()


@dataclass(frozen=True, eq=False)
class ClusterPlan:
    """The batches of a sampler that takes the pseudo-labels of now for classes.

    Where it wants several images of a class, an image that is alone in its cluster sits out.

    Args:
        sampler: which batches.
        pseudo: whose labels.
        seed: of the run, >= 0.
    """

    sampler: ClusterSampler
    pseudo: PseudoLabels
    seed: int

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch of the round that is running.

        Raises:
            UserError: if fewer clusters than a batch wants are left.
        """
        labels_N = self.pseudo.pseudo_labels_N.numpy()
        several = isinstance(self.sampler, ClassBalancedSpec) and self.sampler.per_class > 1
        size_N = np.bincount(labels_N)[labels_N]
        kept = np.flatnonzero(size_N > (1 if several else 0))
        plan = build_plan(self.sampler, labels_N[kept], seed=self.seed)
        return [kept[rows].tolist() for rows in plan.batches(epoch)]
