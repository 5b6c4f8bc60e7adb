"""The arms of the experiment on zero-shot retrieval, and how each is trained: see retrieval.md."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from floors import hand_made

if TYPE_CHECKING:
    from likeness.data.manifest import Manifest
    from likeness.training.spec import RunSpec
    from likeness_apps.benchmark.protocol import Found

HAND_MADE = "hand_made"
RATES = (0.0005, 0.002)
TRIAL_EPOCHS = 6
LOSS = "objective.terms.0.loss."
# The one further number of each method that is tried, with its two values, the default first.
TRIED: dict[str, tuple[str, tuple[float, float]]] = {
    "cross_entropy": ("objective.classification.label_smoothing", (0.0, 0.1)),
    "contrastive": (LOSS + "negative_margin", (1.0, 0.5)),
    "triplet": (LOSS + "margin", (0.2, 0.5)),
    "batch_hard_triplet": (LOSS + "margin", (0.2, 0.5)),
    "semi_hard_triplet": (LOSS + "margin", (0.2, 0.5)),
    "informative_triplets": (LOSS + "margin", (0.2, 0.5)),
    "lifted_structured": (LOSS + "margin", (1.0, 2.0)),
    "generalised_lifted": (LOSS + "margin", (1.0, 0.5)),
    "margin_discriminate": (LOSS + "sharpness", (16.0, 4.0)),
    "margin": (LOSS + "beta", (1.2, 0.9)),
    "ranked_list": (LOSS + "boundary", (1.2, 0.9)),
    "n_pair": (LOSS + "norm_weight", (0.0005, 0.005)),
    "angular": (LOSS + "norm_weight", (0.0005, 0.005)),
    "supcon": (LOSS + "temperature", (0.1, 0.05)),
    "nt_xent": (LOSS + "temperature", (0.07, 0.15)),
    "easy_positive": (LOSS + "temperature", (0.07, 0.15)),
    "nca": (LOSS + "temperature", (1.0, 0.1)),
    "multi_similarity": (LOSS + "base", (0.5, 0.7)),
    "contrastive_bayesian": (LOSS + "variance_weight", (1.0, 0.3)),
    "circle": (LOSS + "margin", (0.4, 0.25)),
    "smooth_ap": (LOSS + "temperature", (0.01, 0.05)),
    "proxy_nca": (LOSS + "scale", (3.0, 4.0)),
    "proxy_anchor": (LOSS + "margin", (0.1, 0.3)),
    "multi_proxies_anchor": (LOSS + "per_class", (10, 3)),
    "normalised_softmax": (LOSS + "temperature", (0.05, 0.1)),
    "arcface": (LOSS + "margin", (0.5, 0.2)),
    "cosface": (LOSS + "margin", (0.35, 0.2)),
    "soft_triple": (LOSS + "per_class", (10, 3)),
    "weighted_contrastive": (LOSS + "margin", (1.2, 0.9)),
    "osm_caa": (LOSS + "margin", (1.2, 0.9)),
    "pair_weighting": ("objective.terms.0.miners.0.loss.base", (0.5, 0.7)),
    "centre": ("objective.terms.0.weight", (1.0, 0.1)),
    "centre_structured": ("objective.terms.0.weight", (1.0, 0.1)),
    # With 4 images of a class each is a quarter of its own mean (expressions.md).
    "gaussian_structured": (LOSS + "leave_one_out", (False, True)),
    "self_paced": ("self_paced.noise", (0.2, 0.1)),
    "memory": ("objective.terms.0.memory.size", (512, 1024)),
    "hier": ("objective.regularisers.0.weight", (1.0, 0.3)),
    "ensemble": ("objective.ensemble.lr_mult", (10.0, 1.0)),
    # What the official code does with the diagonal drives positives apart (docs/methods.md).
    "symmetrical": ("objective.synthesis.keep_diagonal", (False, True)),
    "intra_class": ("objective.synthesis.strength", (0.8, 0.4)),
    "densely_anchored": ("objective.synthesis.beta", (0.01, 0.1)),
    "hdml": ("method.alpha", (1.0, 90.0)),
    "two_stage": ("method.alpha", (0.1, 0.3)),
    "alternating_projections": ("method.weight", (0.0002, 0.002)),
}
TRIALS = [(rate, value) for rate in RATES for value in (0, 1)]  # of each arm, in this order
# Arms under label noise -> what they change of the shared configuration; base and method in turn.
_CLASSES = {"name": "cross_entropy"}
_CONTRASTIVE = {"loss": {"name": "weighted_contrastive"}}
NOISY: dict[str, dict[str, Any]] = {
    "multi_similarity": {
        "objective": {"classification": None, "terms": [{"loss": {"name": "multi_similarity"}}]}
    },
    "bspml": {
        "objective": {"classification": None, "terms": [{"loss": {"name": "self_paced"}}]},
        "self_paced": {"warmup_epochs": 4, "noise": 0.2},
    },
    "contrastive_ce": {"objective": {"classification": _CLASSES, "terms": [_CONTRASTIVE]}},
    "caa": {
        "objective": {
            "classification": _CLASSES,
            "terms": [_CONTRASTIVE | {"miners": [{"name": "class_aware_attention"}]}],
        }
    },
}


def base() -> dict[str, Any]:
    """The budget of all: the shipped configuration in bfloat16, loaded in the training process."""
    from likeness_apps.shell import configs

    return configs.load("benchmark", "retrieval", ["workers=0", "precision=bf16-mixed"])


def with_choice(recipe: Mapping[str, Any], arm: str, rate: float, value: float) -> dict[str, Any]:
    """A recipe with a learning rate and a value of the arm's own number."""
    changed: dict[str, Any] = copy.deepcopy(dict(recipe))
    changed["optimiser"] = {**base()["optimiser"], "lr": rate}
    *places, last = TRIED[arm][0].split(".")
    found: Any = changed
    for place in places:
        found = found[int(place)] if place.isdecimal() else found[place]
    found[last] = value
    return changed


def spec_of(arm: str, rate: float, value: float, *, epochs: int | None = None) -> RunSpec:
    """The configuration of an arm with what was chosen; `epochs` of a trial."""
    from likeness_apps.benchmark.recipes import recipe_of, with_recipe

    shared = base() if epochs is None else {**base(), "epochs": epochs}
    recipe = with_choice(recipe_of(arm)[1], arm, rate, value)
    return with_recipe(shared, arm, recipe)


def halves_of_training(manifest: Manifest, split: int) -> Manifest:
    """The training classes alone: two thirds of them train, the others are searched."""
    training = manifest.with_table(manifest.rows("train"))
    classes = np.array(training.classes)
    held = np.random.default_rng((split, len(classes))).permutation(classes)[: len(classes) // 3]
    tested = training.table["label"].isin(held)
    split_of = np.where(tested, "test", "train")
    return training.with_table(training.table.assign(split=split_of))


def trained(spec: RunSpec, manifest: Manifest, seed: int) -> Found:
    """Train once, ask the test classes, keep nothing."""
    from likeness_apps.benchmark.training import asked, build, seeded, train

    setup = build(seeded(spec, seed), manifest)
    with TemporaryDirectory(prefix="retrieval-") as folder:
        train(setup, Path(folder) / "run")
    return asked(setup)


def untrained(manifest: Manifest, seed: int) -> Found:
    """The network as it starts."""
    from likeness.config import parse
    from likeness.training.spec import RunSpec
    from likeness_apps.benchmark.training import asked, build, seeded

    return asked(build(seeded(parse(RunSpec, base()), seed), manifest))


def by_hand(manifest: Manifest) -> Found:
    """Colour, gradients and texture (`floors.hand_made`), standardised on the training images."""
    from likeness.data.decode import decode
    from likeness.data.transforms import match_bands
    from likeness_apps.benchmark.protocol import measured

    rows = {name: manifest.rows(name) for name in ("train", "test")}
    found = {
        name: np.stack([hand_made(match_bands(decode(manifest.file(p)), 3)) for p in part["path"]])
        for name, part in rows.items()
    }
    mean_D, std_D = found["train"].mean(axis=0), found["train"].std(axis=0) + 1e-9
    scaled_ND = (found["test"] - mean_D) / std_D
    return measured(scaled_ND, rows["test"].reset_index(drop=True), manifest.layout, "cosine")
