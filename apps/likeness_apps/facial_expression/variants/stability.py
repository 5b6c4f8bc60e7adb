"""Are the sub-classes of a model there, or did its seed make them? Other models are asked.

Two questions, both inside classes. Do models that were trained with other seeds divide the same
pictures alike (adjusted Rand index: 1 is the same division, 0 what chance gives)? And are the
pictures of a sub-class closer together than those of random divisions of equal sizes, in the
embedding of a model that had no part in finding it? In the embedding that they were found in they
always are, so that says nothing.

Legend: N = pictures that two models were trained on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd

from likeness.errors import require
from likeness.subclasses import RandomSplits, against_random_splits, agreement_inside
from likeness_apps.facial_expression.variants.found import Divided

# "Moderate recovery" begins here (Steinley 2004, Psychological Methods 9(3)).
STABLE_FROM = 0.65
LIKELY = 0.05  # a p-value up to this is no chance
STABLE, NOT_STABLE, WHOLE, NOT_ASKED = "stable", "not stable", "not divided", "not asked"


@dataclass(frozen=True)
class Pair:
    """Two models and how far they divide the same pictures alike.

    Attributes:
        first: id of a model.
        second: id of another one.
        pictures: that both were trained on.
        ari: mean over the classes that either divides, weighted by pictures; nan if none is.
        by_class: of those classes, by name.
        related: whether they come from the same model, or one from the other: then they agree the
            more easily.
    """

    first: str
    second: str
    pictures: int
    ari: float
    by_class: dict[str, float]
    related: bool


@dataclass(frozen=True)
class Judged:
    """The sub-classes of the first model in the embedding of another one, see `RandomSplits`."""

    model: str
    whole: RandomSplits
    by_class: dict[str, RandomSplits]


@dataclass(frozen=True)
class Stability:
    """What other models say of the sub-classes of the first.

    Attributes:
        pairs: of all models.
        judged: the first model's sub-classes, by each of the others.
        own: the same in its own embedding, which says nothing.
        verdicts: class -> `STABLE`, `NOT_STABLE`, `WHOLE` or `NOT_ASKED`.
    """

    pairs: list[Pair]
    judged: list[Judged]
    own: RandomSplits
    verdicts: dict[str, str]

    @property
    def verdict(self) -> str:
        """Of all classes that the first model divides."""
        found = {*self.verdicts.values()} - {WHOLE}
        if not found:
            return WHOLE
        return NOT_STABLE if NOT_STABLE in found else found.pop()

    @property
    def agreement(self) -> float:
        """Mean agreement of the pairs; nan without any."""
        known = [pair.ari for pair in self.pairs if not math.isnan(pair.ari)]
        return float(np.mean(known)) if known else math.nan


def stability(models: Sequence[Divided], *, draws: int = 199, seed: int = 0) -> Stability:
    """Ask the others about the sub-classes of the first model.

    Args:
        models: trained on the same data, the one in question first.
        draws: random divisions, >= 1.
        seed: of them, >= 0.

    Raises:
        UserError: if a model is there twice, has other classes, or shares no training picture.
    """
    first, *others = models
    ids = [one.bundle.model_id for one in models]
    require(len(set(ids)) == len(ids), "also", "other models than MODEL, each once", ", ".join(ids))
    pairs = [_pair(one, other) for one, other in combinations(models, 2)]
    asked = {"draws": draws, "seed": seed}
    judged = [_judged(first, other, **asked) for other in others]
    own = against_random_splits(
        first.embeddings_ND,
        first.labels_N,
        first.found.assigned_N,
        space=first.bundle.space,
        **asked,
    )
    return Stability(pairs, judged, own, _verdicts(first, pairs[: len(others)], judged))


def in_words(told: Stability) -> str:
    """What other models say, in a sentence."""
    by_verdict = {
        verdict: [name for name, found in told.verdicts.items() if found == verdict]
        for verdict in (STABLE, NOT_STABLE, NOT_ASKED)
    }
    divided = sum(map(len, by_verdict.values()))
    agreement = "" if math.isnan(told.agreement) else f" (mean ARI {told.agreement:.2f})"
    match told.verdict:
        case "not divided":
            return "No class is divided: each is too small, or one component has its lowest BIC."
        case "not asked":
            return (
                "Nobody knows whether these sub-classes are there or made by the seed: ask models "
                "of other seeds with --also."
            )
        case "stable":
            return f"Stable: the other models find all {divided} divisions again{agreement}."
    return (
        f"Not stable: of {divided} divided classes, {len(by_verdict[NOT_STABLE])} are not found "
        f"again by every other model{agreement}: {', '.join(by_verdict[NOT_STABLE])}."
    )


def common(first: Divided, second: Divided) -> tuple[np.ndarray, np.ndarray]:
    """The places of the pictures that both were trained on, by content, in the first and second.

    Raises:
        UserError: if there is none, or one has two labels.
    """
    rule = f"models of the classes {', '.join(first.classes)}"
    require(sorted(first.classes) == sorted(second.classes), "also", rule, second.classes)
    one, other = (model.pictures.drop_duplicates("sha256") for model in (first, second))
    both = one.assign(one=one.index).merge(
        other.assign(other=other.index), on="sha256", suffixes=("", "_there")
    )
    rule = "models that share training pictures with MODEL"
    require(len(both) > 0, "also", rule, str(second.bundle.path))
    differ = both["label"] != both["label_there"]
    rule = "models trained on the same labels as MODEL"
    require(not differ.any(), "also", rule, both["path"][differ].head(1).tolist())
    return both["one"].to_numpy(), both["other"].to_numpy()


def _pair(first: Divided, second: Divided) -> Pair:
    ours_N, theirs_N = common(first, second)
    labels_N = first.labels_N[ours_N]
    ari, by_class = agreement_inside(
        labels_N, first.found.assigned_N[ours_N], second.found.assigned_N[theirs_N]
    )
    ids = first.bundle.model_id, second.bundle.model_id
    starts = {first.started_from, second.started_from} - {""}
    shared = bool(first.started_from) and first.started_from == second.started_from
    named = {first.classes[label]: value for label, value in by_class.items()}
    return Pair(*ids, len(ours_N), ari, named, shared or bool(starts & {*ids}))


def _judged(first: Divided, judge: Divided, *, draws: int, seed: int) -> Judged:
    ours_N, theirs_N = common(first, judge)
    labels_N, assigned_N = first.labels_N[ours_N], first.found.assigned_N[ours_N]
    rows_ND = judge.embeddings_ND[theirs_N]
    ask = partial(against_random_splits, space=judge.bundle.space, draws=draws, seed=seed)
    by_class = {}
    for label in np.unique(labels_N).tolist():
        own_N = labels_N == label
        if len(np.unique(assigned_N[own_N])) > 1:
            parts = rows_ND[own_N], labels_N[own_N], assigned_N[own_N]
            by_class[first.classes[label]] = ask(*parts)
    return Judged(judge.bundle.model_id, ask(rows_ND, labels_N, assigned_N), by_class)


def _verdicts(first: Divided, pairs: Sequence[Pair], judged: Sequence[Judged]) -> dict[str, str]:
    """Stable is what every other model finds again and holds together."""
    parts = pd.Series(first.found.classes_K).value_counts()
    verdicts = {}
    for label, name in enumerate(first.classes):
        if parts.get(label, 0) < 2:
            verdicts[name] = WHOLE
        elif not pairs:
            verdicts[name] = NOT_ASKED
        else:
            again = all(pair.by_class.get(name, 0.0) >= STABLE_FROM for pair in pairs)
            tight = all(name in one.by_class for one in judged) and all(
                one.by_class[name].p_value <= LIKELY for one in judged
            )
            verdicts[name] = STABLE if again and tight else NOT_STABLE
    return verdicts
