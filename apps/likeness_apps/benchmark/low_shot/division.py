"""Who is a base class and who a novel one, and which images are shown, trained on and tested.

Shapes: N = images of the set, E = examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from likeness.data.manifest import Manifest
from likeness.errors import require
from likeness_apps.benchmark.layouts import cub200
from likeness_apps.benchmark.protocol import is_published

BASE_SHARE, TRAINING_SHARE = 2 / 3, 0.8  # where the set does not say; ours
LEAST_BASE = 2  # classes


@dataclass(frozen=True, eq=False)
class Division:
    """A set for one repeat of the protocol.

    Attributes:
        manifest: its images, numbered from 0. `split` is `train` for training images of base
            classes, `test` for test images of all classes, and empty for the rest.
        novel_N: whether an image is of a novel class.
        shot_N: the how-manieth shown image of its novel class it is, from 0; else -1.
    """

    manifest: Manifest
    novel_N: np.ndarray
    shot_N: np.ndarray

    @property
    def classes(self) -> list[str]:
        """Base and novel classes in one order, which is that of all class vectors."""
        return sorted(self.manifest.classes)

    @property
    def numbers_N(self) -> np.ndarray:
        """The class of each image."""
        number = {label: place for place, label in enumerate(self.classes)}
        return np.array([number[label] for label in self.manifest.table["label"]])

    @property
    def tested(self) -> np.ndarray:
        """Positions of the test images."""
        return np.flatnonzero((self.manifest.table["split"] == "test").to_numpy())

    def shown(self, shots: int) -> np.ndarray:
        """Positions of the first `shots` images of each novel class."""
        return np.flatnonzero((self.shot_N >= 0) & (self.shot_N < shots))

    def examples(self, shots: int) -> np.ndarray:
        """Positions of all labelled images: (E,), of base classes for training, then `shown`."""
        base = np.flatnonzero((self.manifest.table["split"] == "train").to_numpy())
        return np.concatenate([base, self.shown(shots)])

    def training(self, shots: int) -> Manifest:
        """`examples` as a set to train on, shown images repeated.

        A novel class is in it as often as the mean base class: batch plans draw classes in
        proportion to their rows, and Qi et al. draw all classes alike.
        """
        table = self.manifest.table
        examples, shown = self.examples(shots), self.shown(shots)
        if len(shown):
            base = examples[: len(examples) - len(shown)]
            wanted = round(len(base) / table["label"].iloc[base].nunique())
            by_shot = shown[np.argsort(self.shot_N[shown], kind="stable")]
            novel = len(by_shot) // shots  # classes, of each of which one follows the other
            examples = np.concatenate([base, np.resize(by_shot, max(wanted, shots) * novel)])
        return self.manifest.with_table(table.iloc[examples].assign(split="train"))


def divided(manifest: Manifest, repeat: int, most: int) -> Division:
    """Divide a set.

    Args:
        manifest: of `layouts.recognise`, without unreadable images. Of sets with published halves
            of the classes the first is base; of others two thirds at random. CUB-200-2011 says
            itself which images are for training and which for testing (Qi et al. use that split);
            of others a fifth of the images of base classes at random is tested, and all images of
            novel classes that are not shown.
        repeat: which random division, >= 0; shown images are drawn anew in any case.
        most: images of each novel class that may be shown.

    Raises:
        UserError: for fewer than two base classes, or a class with too few images.
    """
    table = manifest.table.reset_index(drop=True)
    random = np.random.default_rng((repeat, len(manifest.classes)))
    base = _base_classes(manifest, random)
    require(len(base) >= LEAST_BASE, "data", f"images of {LEAST_BASE} base classes", len(base))
    own_N = cub200.own_training(manifest) if manifest.layout == cub200.NAME else None
    split_N, shot_N = np.full(len(table), "", dtype=object), np.full(len(table), -1)
    for label, rows in table.groupby("label", sort=True).groups.items():
        order = random.permutation(rows.to_numpy())
        if own_N is not None:
            training, tested = order[own_N[order]], order[~own_N[order]]
        elif label in base:
            training, tested = np.split(order, [int(TRAINING_SHARE * len(order))])
        else:
            training, tested = np.split(order, [most])
        split_N[tested] = "test"
        if label in base:
            split_N[training] = "train"
            _require_images(label, len(training), 2, "for training")
        else:
            shot_N[training[:most]] = np.arange(len(training[:most]))
            _require_images(label, len(training), most, "to be shown")
        _require_images(label, len(tested), 1, "to be tested")
    whole = manifest.with_table(table.assign(split=split_N))
    return Division(whole, ~table["label"].isin(base).to_numpy(), shot_N)


def _base_classes(manifest: Manifest, random: np.random.Generator) -> set[str]:
    if is_published(manifest):
        return set(manifest.rows("train")["label"])
    drawn: Sequence[str] = random.permutation(manifest.classes).tolist()
    return set(drawn[: round(BASE_SHARE * len(drawn))])


def _require_images(label: object, got: int, least: int, what: str) -> None:
    require(got >= least, "data", f"at least {least} images of {label} {what}", got)
