"""What a report is made of, as plain tables and arrays, and the views that every section reads.

Shape legend: N items that could be read; D embedding size; C classes; K neighbours; Q queries;
M training images; H, W height and width of a picture, 3 its channels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from likeness.data.manifest import split_labels
from likeness.errors import require
from likeness.search.exact import nearest
from likeness.search.exclusion import Keys
from likeness_apps.shell.measure_multilabel import TASK

if TYPE_CHECKING:
    from likeness_apps.shell.report.tables import Figure

Space = Literal["euclidean", "cosine", "dot"]
Picture = NDArray[np.uint8]
Found = tuple[NDArray[np.integer[Any]], NDArray[np.floating[Any]]]  # indices_QK, distances_QK
Thumbnail = Callable[[str], Picture | None]

DISTANCE_TEXT = {
    "cosine": "chord distance between unit embeddings, 0 (same direction) to 2 (opposite)",
    "euclidean": "Euclidean distance between embeddings",
    "dot": "negative dot product of embeddings: lower is closer",
}


@dataclass(frozen=True)
class Words:
    """How a report speaks of labels.

    Attributes:
        right: what two images that are right answers to each other have in common.
        wrong: what two others have not.
        missed: of an image whose label is not the truth, "..., which <missed>".
        colour: whose colour an image has, a sentence; "" where it has one class.
    """

    right: str
    wrong: str
    missed: str
    colour: str = ""


ONE_CLASS = Words("same class", "another class", "was called something else")
SEVERAL_LABELS = Words(
    "shares a label",
    "shares none",
    "did not get exactly its labels",
    "Colour and order follow the rarest of an image's labels.",
)


@dataclass(frozen=True)
class TrainingItems:
    """The training images that the model learnt from, for "what is this error close to?".

    Attributes:
        paths: M names, as `thumbnail` understands them.
        labels: M class names.
        embeddings_MD: their embeddings, in the space of the report.
        groups: M groups, if an image is not to be compared with its own; () compares with all.
        thumbnail: gives their pictures in place of the report's; None takes the report's.
    """

    paths: Sequence[str]
    labels: Sequence[str]
    embeddings_MD: NDArray[np.floating]
    groups: Sequence[str] = ()
    thumbnail: Thumbnail | None = None


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows; only the first four are needed.

    Attributes:
        title: the heading of the page.
        app: `remote-sensing`, ...
        metrics: what `evaluate` writes into metrics.json.
        predictions: what it writes into predictions.csv: path, status, reason, truth, label, one
            `p_<class>` column per class where probabilities exist, correct, model_id.
        embeddings_ND: one row per prediction whose status is ok, in that order.
        space: how embeddings are compared.
        neighbours: (indices_NK, distances_NK) into the rows of `embeddings_ND`, self excluded, -1
            where there are fewer; None lets the report search where it needs to.
        training: the training images, if errors are to be compared with them.
        epochs: RUN/logs/epochs.csv.
        findings: RUN/findings.csv: level, code, path, message, advice.
        provenance: command, seed, versions, hashes; may be nested.
        card: the model card, Markdown.
        thumbnail: gives the picture of a path, or None where it cannot.
        generated: the images are generated data; the page says so.
        own_sections: the field's own sections (anchor, heading, builder), after the first.
        notice: a sentence that stands on top of the page.
        headlines: the field's own figures beneath the title, before the shared ones.

    Raises:
        UserError: if embeddings or neighbours do not fit the rows that could be read.
    """

    title: str
    app: str
    metrics: Mapping[str, Any]
    predictions: pd.DataFrame
    embeddings_ND: NDArray[np.floating] | None = None
    space: Space = "cosine"
    neighbours: Found | None = None
    training: TrainingItems | None = None
    epochs: pd.DataFrame | None = None
    findings: pd.DataFrame | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""
    thumbnail: Thumbnail | None = None
    generated: bool = False
    own_sections: Sequence[tuple[str, str, Callable[..., Any]]] = ()
    notice: str = ""
    headlines: Sequence[Figure] = ()

    def __post_init__(self) -> None:
        missing = {"path", "status", "label"} - set(self.predictions.columns)
        require(not missing, "predictions", "a table with path, status and label", sorted(missing))
        rows = int((self.predictions["status"] == "ok").sum())
        if self.embeddings_ND is not None:
            shape = self.embeddings_ND.shape
            rule = f"an array of {rows} rows, one per prediction that is ok"
            require(len(shape) == 2 and shape[0] == rows, "embeddings", rule, shape)
        if self.neighbours is not None:
            shapes = tuple(array.shape for array in self.neighbours)
            good = shapes[0] == shapes[1] and len(shapes[0]) == 2 and shapes[0][0] == rows
            require(good, "neighbours", f"two equal arrays of {rows} rows", shapes)

    @cached_property
    def items(self) -> Items:
        """The rows that could be read."""
        return _items(self)

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several labels."""
        return self.metrics.get("task") == TASK

    @property
    def words(self) -> Words:
        """How the page speaks of labels."""
        return SEVERAL_LABELS if self.multilabel else ONE_CLASS

    def names(self, cell: str) -> frozenset[str]:
        """The labels in a cell of `truth` or `label`."""
        return frozenset(split_labels(cell) if self.multilabel else [cell] if cell else [])


@dataclass(frozen=True)
class Items:
    """The rows of `predictions` that could be read, in embedding order.

    Attributes:
        paths, truths, labels: N strings; a truth of "" is unknown. Several labels are a list.
        truth_sets, label_sets: the names in truths and labels.
        right: N of True, False, or None where the truth is unknown.
        classes: C class names, in the order of the confusion matrix where there is one.
        probabilities_NC: in the order of `classes`, nan for a class without a column; or None.
        confidence_N: the greatest probability of each row; nan without probabilities, or where
            every label has its own.
    """

    paths: list[str]
    truths: list[str]
    labels: list[str]
    truth_sets: list[frozenset[str]]
    label_sets: list[frozenset[str]]
    right: list[bool | None]
    classes: list[str]
    probabilities_NC: NDArray[np.float64] | None
    confidence_N: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def wrong(self) -> list[int]:
        """Rows whose label differs from a known truth."""
        return [row for row, right in enumerate(self.right) if right is False]

    @cached_property
    def class_of(self) -> list[int]:
        """The index of the true class, of the label where the truth is unknown, or -1.

        Of several labels it is the one that the fewest images have.
        """
        index = {name: i for i, name in enumerate(self.classes)}
        pairs = zip(self.truth_sets, self.label_sets, strict=True)
        shown = [truth or label for truth, label in pairs]
        count = Counter(name for names in shown for name in names)
        rarest = [min(names, key=lambda name: (count[name], name), default="") for names in shown]
        return [index.get(name, -1) for name in rarest]

    def alike(self, row: int, other: int) -> bool:
        """Whether two images with known labels have one in common."""
        return not self.truth_sets[row].isdisjoint(self.truth_sets[other])


def _items(data: ReportData) -> Items:
    table = data.predictions[data.predictions["status"] == "ok"]
    paths, labels = texts(table, "path"), texts(table, "label")
    truths = texts(table, "truth") if "truth" in table.columns else [""] * len(table)
    truth_sets, label_sets = [data.names(cell) for cell in truths], [data.names(c) for c in labels]
    confusion = data.metrics.get("confusion") or {}
    known = [str(name) for name in confusion.get("classes", [])]
    classes = known + sorted(
        {name for names in truth_sets + label_sets for name in names} - {*known}
    )
    columns = [f"p_{name}" for name in classes]
    probabilities = None
    if any(column in table.columns for column in columns):
        wide = table.reindex(columns=columns).apply(pd.to_numeric, errors="coerce")
        probabilities = wide.to_numpy(dtype=np.float64)
    confidence = np.full(len(table), np.nan)
    if probabilities is not None and len(table) and not data.multilabel:
        filled = np.where(np.isnan(probabilities), -np.inf, probabilities).max(axis=1)
        confidence = np.where(np.isfinite(filled), filled, np.nan)
    right = [t == p if t else None for t, p in zip(truth_sets, label_sets, strict=True)]
    if data.multilabel:
        truths = [", ".join(sorted(names)) for names in truth_sets]
        labels = [", ".join(sorted(names)) or "no label" for names in label_sets]
    return Items(
        paths,
        truths,
        labels,
        truth_sets,
        label_sets,
        right,
        classes,
        probabilities,
        confidence,
    )


def texts(table: pd.DataFrame, column: str) -> list[str]:
    """A column as strings, "" where the table has nothing."""
    values = table[column].astype(object)
    return ["" if pd.isna(value) else str(value) for value in values]


def balanced_sample(classes: Sequence[int], cap: int, seed: int) -> list[int]:
    """Choose at most `cap` rows, as evenly over the classes as their sizes allow.

    Rows are dealt round by round, one from each class, in an order drawn from `seed`.

    Args:
        classes: one class index per row.
        cap: the greatest number of rows, >= 0.
        seed: of the draw.

    Returns:
        Row numbers, ascending by (class, row).
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(classes))
    turn: dict[int, int] = {}
    keyed = []
    for place, row in enumerate(order.tolist()):
        group = classes[row]
        turn[group] = turn.get(group, -1) + 1
        keyed.append((turn[group], place, row))
    chosen = [row for _, _, row in sorted(keyed)[:cap]]
    return sorted(chosen, key=lambda row: (classes[row], row))


def neighbours_of(data: ReportData, rows: Sequence[int], k: int) -> Found:
    """The nearest other items of some rows, among all items.

    Args:
        data: with embeddings or neighbours.
        rows: Q row numbers.
        k: neighbours wanted, >= 1.

    Returns:
        indices_QK and distances_QK, self excluded; -1 and nan where there are fewer.
    """
    if data.neighbours is not None:
        indices, distances = data.neighbours[0][list(rows), :k], data.neighbours[1][list(rows), :k]
        return indices.astype(np.int64), np.where(indices < 0, np.nan, distances).astype(np.float64)
    indices = np.full((len(rows), k), -1, dtype=np.int64)
    distances = np.full((len(rows), k), np.nan)
    count = len(data.items)
    if data.embeddings_ND is None or count < 2 or not len(rows):
        return indices, distances
    # Self is left out by its row, not by distance 0: a duplicate may stand before it.
    own = (np.asarray(rows, dtype=np.int64), np.arange(count))
    asked = min(k, count - 1)
    found = nearest(
        data.embeddings_ND[list(rows)], data.embeddings_ND, asked, space=data.space, exclude=[own]
    )
    indices[:, :asked] = found.indices_QK
    distances[:, :asked] = np.where(found.indices_QK < 0, np.nan, found.distances_QK)
    return indices, distances


def training_neighbours(data: ReportData, rows: Sequence[int], k: int) -> Found | None:
    """The nearest training images of some rows, none of a row's own group; None if there are none.

    Returns:
        indices_QK and distances_QK; -1 and infinity where there are fewer.
    """
    training = data.training
    if training is None or data.embeddings_ND is None or not len(training.paths) or not len(rows):
        return None
    asked = min(k, len(training.paths))
    queries = data.embeddings_ND[list(rows)]
    known = np.asarray(training.embeddings_MD)
    own = _own_groups(data, training, rows)
    found = nearest(queries, known, asked, space=data.space, exclude=own)
    return found.indices_QK, found.distances_QK.astype(np.float64)


def _own_groups(data: ReportData, training: TrainingItems, rows: Sequence[int]) -> list[Keys]:
    """The groups of some rows and of the training images; a row without one meets all."""
    table = data.predictions[data.predictions["status"] == "ok"]
    if not training.groups or "group" not in table.columns:
        return []
    groups = texts(table, "group")
    return [(np.array([groups[row] or " " for row in rows]), np.array(training.groups))]
