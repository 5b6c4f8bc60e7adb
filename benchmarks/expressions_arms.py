"""The arms of the experiment on displayed expressions: see expressions.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIDE, SHIFT = 48, 4  # of a picture, and how far it is moved, in pixels

CLASSIFY: dict[str, Any] = {"name": "cross_entropy", "weight": 1.0}
GAUSSIAN: dict[str, Any] = {
    "loss": {"name": "gaussian_structured", "sigma": 1.0, "norm_weight": 0.0001},
    "weight": 1.0,
}
# The same with each picture taken out of its own class mean; explored, see the protocol's end.
LEFT_OUT: dict[str, Any] = {**GAUSSIAN, "loss": {**GAUSSIAN["loss"], "leave_one_out": True}}
TRIPLETS: dict[str, Any] = {  # FaceNet's
    "loss": {
        "name": "semi_hard_triplet",
        "margin": 0.2,
        "squared": True,
        "reduction": "all",
        "space": "cosine",
    }
}
MODEL: dict[str, Any] = {
    "backbone": "resnet18",
    "stem": "standard",
    "bands": 1,
    "image_size": SIDE,
    "embedding_dim": 64,
    "space": "euclidean",
}
DATA: dict[str, Any] = {
    "resize": "squash",
    "grey": True,
    "per_image_standardisation": True,
    "augmentation": {
        "flips": True,
        "rotate90": False,
        "rotate_degrees": 10,
        "crop_scale_min": 1.0,
        "brightness": 0.2,
        "contrast": 0.2,
        "colour": 0.0,
        "pad_crop": {"pixels": SHIFT, "fill": "mean"},
    },
}
FIXED: dict[str, Any] = {
    "epochs": 10,
    "monitor": None,
    "workers": 0,
    "precision": "bf16-mixed",
    "model": MODEL,
    "sampler": {"name": "class_balanced", "classes_per_batch": 8, "per_class": 8},
    "optimiser": {"name": "adamw", "lr": 0.001, "weight_decay": 0.01},
    "schedule": {"name": "cosine", "warmup_epochs": 1},
    "data": DATA,
}
AFTER: dict[str, Any] = {  # of what goes on from a trained network
    "epochs": 12,
    "optimiser": {"name": "adamw", "lr": 0.0003, "weight_decay": 0.01},
    "schedule": {"name": "cosine", "warmup_epochs": 0},
}
ROUNDS: dict[str, Any] = {
    "epochs_per_round": 3,
    "first": 2,
    "most": 4,
    "kind": "diag",
    "min_images": 100,
}
# The authors' network, at their size: grey pictures on three bands.
PREACT_MODEL: dict[str, Any] = {
    **{name: value for name, value in MODEL.items() if name != "stem"},
    "backbone": "preact_resnet18",
    "bands": 3,
    "image_size": 64,
}
PREACT_DATA: dict[str, Any] = {
    **DATA,
    "augmentation": {**DATA["augmentation"], "pad_crop": {"pixels": 5, "fill": "mean"}},
}
BOTH: dict[str, Any] = {"objective": {"classification": CLASSIFY, "terms": [GAUSSIAN]}}
ARMS: dict[str, dict[str, Any]] = {  # what takes the place of parts of `FIXED`
    "a": {"objective": {"classification": CLASSIFY}},
    "b": {"objective": {"classification": None, "terms": [GAUSSIAN]}},
    "c": BOTH,
    "d": {
        **AFTER,
        "objective": {"classification": CLASSIFY, "terms": [{**GAUSSIAN, "labels": "subclass"}]},
        "subclasses": ROUNDS,
    },
    "d0": {**AFTER, **BOTH},
    "e": {
        "objective": {"classification": None, "terms": [TRIPLETS]},
        "model": {**MODEL, "space": "cosine"},
    },
    "s": {"objective": {"classification": {**CLASSIFY, "targets": "soft"}}},
    "k": {"objective": {"classification": CLASSIFY}, "data": {**DATA, "groups": "none"}},
    "b1": {"objective": {"classification": None, "terms": [LEFT_OUT]}},
    "c1": {"objective": {"classification": CLASSIFY, "terms": [LEFT_OUT]}},
    "preact": {**BOTH, "model": PREACT_MODEL, "data": PREACT_DATA},
}
COPIES = "k"  # the arm that is trained on copies of test pictures
START = "c"  # the arm whose networks `FOLLOWERS` go on from
FOLLOWERS = ("d", "d0")
EXPLORED = ("b1", "c1")  # arms that were added when the scores of the others were known


def configuration(arm: str, seed: int, trained: Path) -> dict[str, Any]:
    """A configuration as a file of `train` holds it.

    Args:
        arm: one of `ARMS`.
        seed: of the run.
        trained: the run of `START` with this seed; read by `FOLLOWERS` alone.
    """
    start = {"start": str(trained)} if arm in FOLLOWERS else {}
    return {**FIXED, **ARMS[arm], "seed": seed, **start}
