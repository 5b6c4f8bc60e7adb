"""What an image can be labelled with, and all that follows from it: one class, or several labels.

The commands ask their task and nothing else about labels: how the cells of a table become arrays,
how logits are read, what is measured, which score can choose the best epoch. `task_of` is the one
place that chooses; an application with other labels brings a task of its own.

Shapes: N = images, C = classes or labels, D = embedding dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.special import expit

from likeness.data.manifest import label_matrix, split_labels
from likeness.errors import UserError
from likeness.evaluation.calibration import fit_temperature, fit_thresholds
from likeness.evaluation.resampling import Bootstrap
from likeness.inference.readers import Reader
from likeness.inference.readouts import (
    READOUTS,
    Readout,
    ReadoutName,
    class_centres,
    label_votes,
    sigmoid_readout,
    softmax_readout,
)
from likeness.pairs import Space
from likeness.training.spec import RunSpec
from likeness_apps.shell import measure, measure_multilabel
from likeness_apps.shell.measure import Answers, Measured

NEIGHBOURS = 5  # as many as `likeness.inference.readers` asks


@dataclass(frozen=True)
class OperatingPoint:
    """How the network's answers become a decision.

    Attributes:
        readout: the name of the read-out.
        read: embeddings (N, D) and logits (N, C) to labels and probabilities.
        metrics: what a bundle's metrics.json records, for `likeness.inference.readers`.
        text: what the model card says.
    """

    readout: str
    read: Callable[[np.ndarray, np.ndarray], Readout]
    metrics: dict[str, Any]
    text: str


class Figures(Protocol):
    """What measures answers: the module `measure`, or `measure_multilabel`."""

    def measure(self, answers: Answers, bootstrap: Bootstrap | None = None) -> Measured:
        """Every figure that the answers allow."""

    def measure_embeddings(
        self,
        embeddings_ND: np.ndarray,
        truth_N: np.ndarray,
        groups_N: np.ndarray,
        /,
        *,
        space: Space,
    ) -> Measured:
        """What embeddings alone allow, where every item asks all others."""

    def measure_search(
        self,
        query_QD: np.ndarray,
        truth_Q: np.ndarray,
        gallery_GD: np.ndarray,
        truth_G: np.ndarray,
        groups_Q: np.ndarray,
        /,
        *,
        space: Space,
    ) -> Measured:
        """Retrieval, where queries ask a gallery."""

    def validation_scores(self, answers: Answers) -> dict[str, float]:
        """What can choose the best epoch, by name; larger is better."""


class Labels(Protocol):
    """What training needs to know of labels."""

    @property
    def classes(self) -> list[str]:
        """C names; their order is the order of logits and columns."""

    @property
    def multilabel(self) -> bool:
        """Whether a cell of `label` may hold several names."""

    def targets(self, cells: Sequence[str]) -> np.ndarray:
        """Class numbers (N,), or a table (N, C) of 0 and 1, of the cells of `label`."""

    def counts(self, targets: np.ndarray) -> list[int]:
        """How many images have each class."""


class Task(Labels, Protocol):
    """What the shared commands need to know of labels."""

    @property
    def name(self) -> str:
        """For messages, `single-label` say."""

    @property
    def monitors(self) -> tuple[str, ...]:
        """Validation scores that can choose the best epoch."""

    @property
    def layer_monitors(self) -> tuple[str, ...]:
        """Those of them that need a class layer."""

    @property
    def shown(self) -> tuple[str, ...]:
        """The classification figures that the terminal shows."""

    @property
    def figures(self) -> Figures:
        """What measures answers with these labels."""

    def alike(self, cell: str, other: str) -> bool:
        """Whether two labelled images are right answers to each other."""

    def unfit(self, spec: RunSpec) -> list[str]:
        """The options of a configuration that are made for other labels, as `key=value`."""

    def plain(self) -> OperatingPoint:
        """The operating point before anything was fitted."""

    def fitted(self, logits_NC: np.ndarray, targets: np.ndarray) -> OperatingPoint:
        """The operating point that suits the validation split best."""

    def without_layer(
        self,
        embeddings_ND: np.ndarray,
        targets: np.ndarray,
        space: Space,
        readers: Mapping[ReadoutName, Reader],
    ) -> OperatingPoint:
        """How a model without a class layer decides.

        Args:
            embeddings_ND: of its training images.
            targets: of these.
            space: of both.
            readers: the readouts that compare with means of training images, calibrated.
        """

    def centres(
        self, embeddings_ND: np.ndarray, targets: np.ndarray, space: Space
    ) -> np.ndarray | None:
        """Class centres (C, D) of training images; None where a class has no centre."""


def task_of(classes: Sequence[str], *, multilabel: bool) -> Task:
    """The task of a data set or a model with these classes."""
    return MultiLabel(list(classes)) if multilabel else SingleLabel(list(classes))


def require_fit(spec: RunSpec, task: Task, config: str) -> None:
    """Refuse a configuration that is made for other labels than the data have.

    Args:
        spec: the configuration.
        task: of the data.
        config: the name of a configuration that fits; "" if there is none.

    Raises:
        UserError: naming what does not fit and what would.
    """
    unfit = task.unfit(spec)
    if unfit:
        advice = f"; use --config {config}" if config else ""
        if any(item.startswith("monitor=") for item in unfit):
            advice += f" (monitor is one of {', '.join(task.monitors)})"
        raise UserError(f"config must be for a {task.name} set, got {', '.join(unfit)}{advice}")
    if spec.objective.classification is None and spec.monitor is not None:
        others = [name for name in task.monitors if name not in task.layer_monitors]
        if spec.monitor not in others:
            raise UserError(
                f"monitor must be one of {', '.join(others)} without a classification, got "
                f"{spec.monitor!r}; set monitor={others[0]}, too"
            )


@dataclass(frozen=True)
class SingleLabel:
    """Every image has one class."""

    classes: list[str]
    name = "single-label"
    multilabel = False
    monitors = ("accuracy", "average_accuracy", "map_at_r")
    layer_monitors = ("accuracy", "average_accuracy")
    shown = ("overall_accuracy", "average_accuracy", "kappa")

    @property
    def figures(self) -> Figures:
        """Accuracy, kappa, MAP@R and the like."""
        return measure

    def targets(self, cells: Sequence[str]) -> np.ndarray:
        """Class numbers, int64."""
        number = {name: place for place, name in enumerate(self.classes)}
        return np.array([number[cell] for cell in cells], dtype=np.int64)

    def counts(self, targets: np.ndarray) -> list[int]:
        """Images of each class."""
        return [int(count) for count in np.bincount(targets, minlength=len(self.classes))]

    def alike(self, cell: str, other: str) -> bool:
        """Equal class."""
        return cell == other

    def unfit(self, spec: RunSpec) -> list[str]:
        """The options that are made for several labels."""
        return _unfit(spec, self.monitors, ("binary_cross_entropy",), "multilabel")

    def plain(self) -> OperatingPoint:
        """Temperature 1."""
        return _tempered(1.0)

    def fitted(self, logits_NC: np.ndarray, targets: np.ndarray) -> OperatingPoint:
        """The temperature of the validation split."""
        return _tempered(fit_temperature(logits_NC, targets).value)

    def without_layer(
        self,
        embeddings_ND: np.ndarray,
        targets: np.ndarray,
        space: Space,
        readers: Mapping[ReadoutName, Reader],
    ) -> OperatingPoint:
        """The posterior of its Gaussians, if it was trained for them; else the nearest centre."""
        name = next(name for name in READOUTS if name in readers)
        reader = readers[name]
        decided = {
            "gaussian": "The class with the largest posterior under Gaussians of one width about "
            "the means of training images",
            "nearest_centre": "The class with the nearest centre of training images",
        }
        text = f"{decided[name]}; there is no threshold. {_divided(reader.temperature)}"
        return OperatingPoint(name, reader, {}, text)

    def centres(self, embeddings_ND: np.ndarray, targets: np.ndarray, space: Space) -> np.ndarray:
        """Mean embedding of each class."""
        count = len(self.classes)
        return class_centres(embeddings_ND, targets, num_classes=count, space=space)


@dataclass(frozen=True)
class MultiLabel:
    """Every image has one label or several; they are independent of each other."""

    classes: list[str]
    name = "multi-label"
    multilabel = True
    monitors = ("macro_ap", "map", "wmap", "ndcg")
    layer_monitors = ("macro_ap",)
    shown = ("example_f1", "micro_f1", "macro_f1", "macro_ap", "hamming_loss", "subset_accuracy")

    @property
    def figures(self) -> Figures:
        """Example-based scores, F1, WMAP and the like."""
        return measure_multilabel

    def targets(self, cells: Sequence[str]) -> np.ndarray:
        """A table of 0 and 1, uint8."""
        return label_matrix(cells, self.classes)

    def counts(self, targets: np.ndarray) -> list[int]:
        """Images that have each label."""
        return [int(count) for count in targets.sum(axis=0, dtype=np.int64)]

    def alike(self, cell: str, other: str) -> bool:
        """At least one label in common."""
        return not set(split_labels(cell)).isdisjoint(split_labels(other))

    def unfit(self, spec: RunSpec) -> list[str]:
        """The options that are made for one class each."""
        return _unfit(spec, self.monitors, ("cross_entropy", "focal"), "class_balanced")

    def plain(self) -> OperatingPoint:
        """Thresholds of 0.5."""
        return self._point(np.full(len(self.classes), 0.5), "not fitted")

    def fitted(self, logits_NC: np.ndarray, targets: np.ndarray) -> OperatingPoint:
        """For each label the threshold with the greatest F1 on the validation split."""
        found_C = fit_thresholds(expit(logits_NC.astype(np.float64)), targets)
        source = "each the one with the greatest F1 of its label on the validation split"
        return self._point(found_C, source)

    def without_layer(
        self,
        embeddings_ND: np.ndarray,
        targets: np.ndarray,
        space: Space,
        readers: Mapping[ReadoutName, Reader],
    ) -> OperatingPoint:
        """The labels of the nearest training images."""
        k = min(NEIGHBOURS, len(targets))

        def read(asked_ND: np.ndarray, _: np.ndarray) -> Readout:
            return label_votes(asked_ND, embeddings_ND, targets, space=space, k=k)

        text = f"Every label that more than half of the {k} nearest training images have."
        return OperatingPoint("knn", read, {}, text)

    def centres(self, embeddings_ND: np.ndarray, targets: np.ndarray, space: Space) -> None:
        """None: an image with several labels belongs to no one centre."""

    def _point(self, thresholds_C: np.ndarray, source: str) -> OperatingPoint:
        named = dict(zip(self.classes, thresholds_C.tolist(), strict=True))
        told = ", ".join(f"{name} {value:.3g}" for name, value in named.items())
        return OperatingPoint(
            "sigmoid",
            lambda _, logits_NC: sigmoid_readout(logits_NC, thresholds_C),
            {"thresholds": {"sigmoid": named}},
            "Every label whose independent probability reaches its threshold; there may be none. "
            f"Thresholds, {source}: {told}.",
        )


def _tempered(temperature: float) -> OperatingPoint:
    return OperatingPoint(
        "softmax",
        lambda _, logits_NC: softmax_readout(logits_NC, temperature=temperature),
        {"temperature": {"softmax": temperature}},
        f"The most probable class; there is no threshold. {_divided(temperature)}",
    )


def _divided(temperature: float) -> str:
    return (
        f"Scores are divided by the temperature {temperature:.3g} before they become "
        "probabilities; it was fitted on the validation split."
    )


def _unfit(
    spec: RunSpec, monitors: Sequence[str], classifications: Sequence[str], sampler: str
) -> list[str]:
    """Options outside `monitors`, and those with the names of the other kind of set."""
    found = [] if spec.monitor in (None, *monitors) else [f"monitor={spec.monitor}"]
    chosen = spec.objective.classification
    if chosen is not None and chosen.name in classifications:
        found.append(f"objective.classification.name={chosen.name}")
    return found + [f"sampler.name={sampler}"] * (spec.sampler.name == sampler)
