"""The arms of the experiment on people, and how each is trained and asked: see people.md.

Legend: F frames, T tracklets, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from likeness.data.manifest import Manifest
    from likeness.sampling import BatchPlan
    from likeness.training.spec import RunSpec
    from likeness_apps.shell.setup import Setup

EPOCHS, STEPS = 2, 30  # epochs, each of so many batches
PROTOCOL = "cross-camera"
STRIPES, BINS = 6, (16, 8, 8)  # of the floor: stripes of a person; bins of hue, saturation, value

CONTRASTIVE = {"name": "weighted_contrastive", "margin": 1.2, "negative_share": 0.5}
OSM = {"name": "online_soft_mining", "sigma": 0.8, "margin": 1.2}
CAA = {"name": "class_aware_attention"}
TRIPLET = {"name": "triplet", "margin": 0.3, "squared": False, "reduction": "all"}
ARMS: dict[str, list[dict[str, Any]]] = {  # what is added to the cross-entropy
    "a": [{"loss": CONTRASTIVE}],
    "b": [{"loss": CONTRASTIVE, "miners": [OSM]}],
    "c": [{"loss": CONTRASTIVE, "miners": [CAA]}],
    "d": [{"loss": CONTRASTIVE, "miners": [OSM, CAA]}],
    "e": [{"loss": TRIPLET, "miners": [{"name": "batch_hard"}]}],
    "f": [],
}
FLOOR = "floor"  # colours of stripes, nothing trained
FIXED: dict[str, Any] = {
    "epochs": EPOCHS,
    "monitor": None,
    "workers": 0,
    "precision": "bf16-mixed",
    "model": {"backbone": "resnet18", "image_size": [64, 32], "space": "cosine"},
    "sampler": {
        "name": "clips",
        "classes_per_batch": 8,
        "clips_per_class": 2,
        "frames_per_clip": 4,
        "pick": "segments",
    },
    "optimiser": {"name": "adamw", "lr": 0.001, "weight_decay": 0.01},
    "schedule": {"name": "cosine", "warmup_epochs": 0.1},
    "data": {
        "resize": "squash",
        "augmentation": {
            "flips": True,
            "rotate90": False,
            "crop_scale_min": 1.0,
            "brightness": 0.1,
            "contrast": 0.1,
            "colour": 0.05,
            "pad_crop": {"pixels": 3},
        },
    },
}


@dataclass(frozen=True, eq=False)
class LongEpochs:
    """A batch plan whose epochs are `steps` batches of another plan's epochs, one after another.

    The loop writes a checkpoint after each epoch, which takes as long as showing all tracklets of
    such a small set once.
    """

    plan: BatchPlan
    steps: int

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch; see `BatchPlan`."""
        rounds = -(-self.steps // len(self.plan.batches(0)))
        first = epoch * rounds
        shown = [batch for number in range(rounds) for batch in self.plan.batches(first + number)]
        return shown[: self.steps]


def spec_of(arm: str, run: int) -> RunSpec:
    """The configuration of an arm: frames and tracklets are classified, and pairs of both added."""
    from likeness.config import parse
    from likeness.training.spec import RunSpec

    terms, classified = ARMS[arm], {"name": "cross_entropy"}
    sets = {"pooling": "mean", "classification": classified, "terms": terms}
    objective = {"classification": classified, "terms": terms, "sets": sets}
    return parse(RunSpec, {**FIXED, "seed": run, "objective": objective})


def set_up_arm(arm: str, run: int, manifest: Manifest) -> Setup:
    """All that an arm is made of before its first step; nobody is kept for validation."""
    from likeness.data.checks import CheckResult
    from likeness.provenance import hash_table
    from likeness_apps.person_reid.data import Identities
    from likeness_apps.shell.data import Prepared
    from likeness_apps.shell.setup import set_up

    prepared = Prepared(
        manifest=manifest,
        checked=CheckResult(manifest.table, ()),
        labels=Identities(sorted(manifest.rows("train")["label"].unique())),
        dropped=[],
        bands=3,
        dtype="uint8",
        data_hash=hash_table(manifest.table),
    )
    return set_up(spec_of(arm, run), prepared, quiet=True)


def train(setup: Setup) -> pd.DataFrame:
    """Train for the whole budget; the log of epochs. The last weights stay in the network."""
    import torch

    from likeness.training.data import TrainingData
    from likeness.training.loop import fit

    training = setup.splits["train"]
    data = TrainingData(
        images=training.images,
        labels=torch.from_numpy(training.targets),
        names=training.table["path"].tolist(),
        columns={name: torch.from_numpy(codes) for name, codes in training.columns.items()},
        hash=setup.prepared.data_hash,
    )
    plan = LongEpochs(setup.plan, STEPS)
    with TemporaryDirectory(prefix="people-") as folder:
        parts = (Path(folder), setup.spec, setup.embedder, setup.objective, data, plan)
        return fit(*parts, quiet=True).history


def ask_network(setup: Setup, manifest: Manifest) -> pd.DataFrame:
    """What the queries of the test people find with a network's embeddings."""
    from likeness.data.dataset import ImageRows
    from likeness_apps.shell.finish import answer
    from likeness_apps.shell.setup import Split

    rows = manifest.rows("test").reset_index(drop=True)
    images = ImageRows(manifest.root, rows["path"].tolist(), setup.preprocessing)
    targets = np.zeros(len(rows), np.int64)  # nobody tested is a class
    return ranked(answer(setup.embedder, Split(images, targets, rows)).embeddings_ND, rows)


def ask_floor(manifest: Manifest) -> pd.DataFrame:
    """What the queries of the test people find by the colours of `stripes`."""
    from likeness.data.decode import decode
    from likeness.data.transforms import match_bands

    rows = manifest.rows("test").reset_index(drop=True)
    images = (match_bands(decode(manifest.file(path)), 3) for path in rows["path"])
    return ranked(np.stack([stripes(image_HW3) for image_HW3 in images]), rows)


def ranked(features_FD: np.ndarray, rows: pd.DataFrame) -> pd.DataFrame:
    """One row per query; a tracklet is the mean of its frames, compared by the cosine."""
    import torch

    from likeness.models.sets import pool_sets
    from likeness_apps.person_reid.grouping import by_tracklet
    from likeness_apps.person_reid.scoring import score_tracklets

    tested = by_tracklet(rows)
    pooled_TD = pool_sets(
        torch.from_numpy(features_FD),
        torch.from_numpy(tested.tracklet_F),
        sets=len(tested.table),
    )
    return score_tracklets(pooled_TD.numpy(), tested.table, PROTOCOL).queries


def stripes(image_HW3: np.ndarray) -> np.ndarray:
    """Roots of the histograms of hue, saturation and value in horizontal stripes, (D,)."""
    from skimage.color import rgb2hsv

    found = []
    for stripe in np.array_split(rgb2hsv(image_HW3), STRIPES):
        for band, bins in enumerate(BINS):
            counts = np.histogram(stripe[..., band], bins, (0.0, 1.0))[0]
            found.append(np.sqrt(counts / counts.sum()))
    return np.concatenate(found)
