"""Similar cases: the training lesions nearest to an image, with diagnosis, and how far they agree.

A case is a lesion, or a patient where the data name patients: the `group` of the splits. Several
images of it are one case, at the distance of the nearest. Never shown are the query's own group,
images of the same content, images of the same embedding, and any other image of a group of which
one is such a copy: it is the query's own lesion.

Legend: N queries, K cases of a query, M training images (rows of the bundle's gallery), L training
lesions, D embedding dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from likeness.bundle import Bundle
from likeness.errors import require
from likeness.evaluation.binary import discrimination
from likeness.evaluation.resampling import DEFAULT, Bootstrap, mean_intervals
from likeness.evaluation.values import MetricValue, mean_value, plain
from likeness.search.space import pair_distances, prepared
from likeness_apps.skin_lesion.cases.known_cases import (
    KnownCases,
    equal_keys,
    known_cases,
    nearest_lesions,
)
from likeness_apps.skin_lesion.clinical.tasks import BinaryTask, binary_tasks

FAR = 95.0  # a nearest case beyond this percentile is called far


@dataclass(frozen=True, eq=False)
class SimilarCases:
    """The nearest training lesions of every query, the nearest first.

    Attributes:
        images_NK: gallery row of the nearest image of each lesion; -1 where there are fewer cases.
        distances_NK: in the model's space; infinity for none.
        percentiles_NK: of 100 training lesions, how many have a nearest other lesion at most this
            far away, in [0, 100]; nan for none.
        labels_NK: class numbers; -1 for none.
        groups_N: what the summary resamples.
        known: the training lesions.
    """

    images_NK: Int[np.ndarray, "N K"]
    distances_NK: Float[np.ndarray, "N K"]
    percentiles_NK: Float[np.ndarray, "N K"]
    labels_NK: Int[np.ndarray, "N K"]
    groups_N: np.ndarray
    known: KnownCases

    @property
    def counts_N(self) -> Int[np.ndarray, " N"]:
        """How many cases each query has."""
        return np.asarray((self.images_NK >= 0).sum(axis=1))

    def shares(self, labels_N: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
        """Share of a query's cases that have its label; nan without a case."""
        return _ratio((self.labels_NK == labels_N[:, None]).sum(axis=1), self.counts_N)

    def majority_N(self) -> Int[np.ndarray, " N"]:
        """The most frequent class of a query's cases; of several that of the nearest; -1: none."""
        votes_NK = (self.labels_NK[:, :, None] == self.labels_NK[:, None, :]).sum(axis=2)
        votes_NK = np.where(self.labels_NK >= 0, votes_NK, 0)
        return np.asarray(self.labels_NK[np.arange(len(votes_NK)), votes_NK.argmax(axis=1)])

    def task_scores(self, task: BinaryTask) -> Float[np.ndarray, " N"]:
        """Share of a query's cases that are positive; nan without a case."""
        return _ratio(np.isin(self.labels_NK, task.positive).sum(axis=1), self.counts_N)

    def summary(
        self,
        *,
        truth_N: Int[np.ndarray, " N"] | None = None,
        predicted_N: Int[np.ndarray, " N"] | None = None,
        bootstrap: Bootstrap = DEFAULT,
    ) -> dict[str, Any]:
        """How far the cases agree, as plain data; every figure with its count and interval.

        `same_as_truth@k` and `same_as_predicted@k`: mean share of a query's cases that have its
        class. `majority_is_truth@k` and `majority_is_predicted@k`: share of queries whose cases'
        most frequent class is it. `unanimous@k`: share of queries whose cases all have one class.
        `far`: share of queries whose nearest case lies beyond the percentile `FAR`: about
        1 - FAR / 100 of training lesions do, and more of unseen ones, since the network was fitted
        to the others. `knn_auc`, for each task of `binary_tasks`: area under the ROC curve of the
        share of positive cases; there is no threshold in it.

        Args:
            truth_N: true class numbers.
            predicted_N: what the model said.
            bootstrap: of the intervals, over groups.
        """
        k = self.images_NK.shape[1]
        given = {"truth": truth_N, "predicted": predicted_N}
        columns_N = self._columns({name: of for name, of in given.items() if of is not None}, k)
        has_N = self.counts_N > 0
        values = {
            name: mean_value(np.nan_to_num(of), has_N & ~np.isnan(of), "no case")
            for name, of in columns_N.items()
        }
        found = mean_intervals(columns_N, self.groups_N, bootstrap)
        areas = {}
        if truth_N is not None:
            for name, task in binary_tasks(self.known.classes).items():
                areas[name] = self._area(truth_N, task, bootstrap)
        nearest_N = self.percentiles_NK[:, 0]
        nearest_N = nearest_N[~np.isnan(nearest_N)]
        return {
            "k": k,
            "queries": len(has_N),
            "without_case": int((~has_N).sum()),
            "with_fewer_than_k": int((self.counts_N < k).sum()),
            "training_lesions": self.known.lesions,
            "training_images": len(self.known.labels_M),
            "agreement": plain({name: found[name].on(value) for name, value in values.items()}),
            "knn_auc": areas,
            "median_percentile_of_nearest": float(np.median(nearest_N)) if len(nearest_N) else None,
            "far_percentile": FAR,
        }

    def _columns(self, given: Mapping[str, np.ndarray], k: int) -> dict[str, np.ndarray]:
        """The value of every query, nan without a case, by the name of the figure."""
        has_N, majority_N = self.counts_N > 0, self.majority_N()
        columns: dict[str, np.ndarray] = {}
        for name, labels_N in given.items():
            columns[f"same_as_{name}@{k}"] = self.shares(labels_N)
            columns[f"majority_is_{name}@{k}"] = np.where(has_N, majority_N == labels_N, np.nan)
        unanimous_N = self.shares(majority_N) == 1
        columns[f"unanimous@{k}"] = np.where(has_N, unanimous_N, np.nan)
        nearest_N = self.percentiles_NK[:, 0]
        columns["far"] = np.where(np.isnan(nearest_N), np.nan, nearest_N > FAR)
        return columns

    def _area(self, truth_N: np.ndarray, task: BinaryTask, bootstrap: Bootstrap) -> dict[str, Any]:
        counted_N = ~np.isin(truth_N, task.left_out) & (self.counts_N > 0)
        truth = np.isin(truth_N[counted_N], task.positive)
        about = {
            "positives": int(truth.sum()),
            "negatives": int((~truth).sum()),
            "left_out": int((~counted_N).sum()),
        }
        if not counted_N.any():
            nothing = MetricValue(np.nan, 0, {"no item of the task has a case": len(truth_N)})
            return nothing.as_dict() | about
        scores, groups = self.task_scores(task)[counted_N], self.groups_N[counted_N]
        found = discrimination(truth, scores, groups, bootstrap=bootstrap)
        return found["roc_auc"].as_dict() | about


def similar_cases(
    embeddings_ND: Shaped[np.ndarray, "N D"],
    groups_N: Sequence[str] | np.ndarray,
    hashes_N: Sequence[str] | np.ndarray | None,
    bundle: Bundle | KnownCases,
    k: int = 5,
) -> SimilarCases:
    """The k nearest training lesions of every image; see the top of this file for who never is one.

    Exact, in blocks: memory is bounded by the block. With fewer than k lesions there are fewer
    cases.

    Args:
        embeddings_ND: of the queries, raw or as the space compares them.
        groups_N: lesion or patient of each; "" = unknown.
        hashes_N: SHA-256 of each file, "" = unknown; None: of none. A file that the model's splits
            list has the group that it has there, too.
        bundle: the model, or what `known_cases` made of it, to be asked several times.
        k: >= 1.

    Raises:
        UserError: if the model keeps no training embeddings, or nobody can tell whose they are, has
            several labels per image, or numbers do not fit.
    """
    require(k >= 1, "k", ">= 1", k)
    known = bundle if isinstance(bundle, KnownCases) else known_cases(bundle)
    groups = np.asarray(groups_N, dtype=str)
    count = len(embeddings_ND)
    hashes = np.full(count, "") if hashes_N is None else np.asarray(hashes_N, dtype=str)
    for name, given in (("groups_N", groups), ("hashes_N", hashes)):
        require(given.shape == (count,), name, f"one for each of {count} images", given.shape)
    if not count:
        nothing = np.full((0, k), -1)
        return SimilarCases(nothing, nothing * 1.0, nothing * 1.0, nothing, groups, known)
    saved = np.array([known.group_of.get(value, "") for value in hashes.tolist()], dtype=str)
    query_ND = prepared(embeddings_ND, known.space, "embeddings")
    rows = known.rows
    own = [equal_keys(groups, rows["group"]), equal_keys(saved, rows["group"])]
    content = equal_keys(hashes, rows["sha256"])
    images_NK = nearest_lesions(query_ND, known, k, own=own, content=content)
    return _described(query_ND, images_NK, known, groups)


def _described(
    query_ND: np.ndarray, images_NK: np.ndarray, known: KnownCases, groups_N: np.ndarray
) -> SimilarCases:
    """The found images with distances, percentiles and labels."""
    there_NK = images_NK >= 0
    pairs = np.nonzero(there_NK)[0], images_NK[there_NK]
    distances_NK = np.full(images_NK.shape, np.inf, np.float32)
    distances_NK[there_NK] = pair_distances(query_ND, known.embeddings_MD, *pairs, known.space)
    percentiles_NK = np.full(images_NK.shape, np.nan)
    if len(known.nearest_L):
        places = np.searchsorted(known.nearest_L, distances_NK[there_NK], side="right")
        percentiles_NK[there_NK] = 100 * places / len(known.nearest_L)
    labels_NK = np.where(there_NK, known.labels_M[images_NK], -1)
    return SimilarCases(images_NK, distances_NK, percentiles_NK, labels_NK, groups_N, known)


def _ratio(part_N: np.ndarray, whole_N: np.ndarray) -> Float[np.ndarray, " N"]:
    undefined_N = np.full(len(part_N), np.nan)
    return np.asarray(np.divide(part_N, whole_N, out=undefined_N, where=whole_N > 0))
