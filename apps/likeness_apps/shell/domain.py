"""What an application tells the shared commands about its field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from typing import Protocol as Interface

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from markupsafe import Markup

    from likeness.bundle import Bundle
    from likeness.data.decoded import Remark
    from likeness.data.manifest import Manifest
    from likeness.evaluation.resampling import Bootstrap
    from likeness.models import Embedder
    from likeness.training.loop import FitResult
    from likeness.training.spec import RunSpec
    from likeness_apps.demo import Journal
    from likeness_apps.shell.data import Prepared
    from likeness_apps.shell.measure import Answers, Measured
    from likeness_apps.shell.report.sections import Build
    from likeness_apps.shell.report.tables import Figure
    from likeness_apps.shell.setup import Setup

APPLICATION = "application"  # under which a model's provenance names the one that trained it


@dataclass(frozen=True)
class Share:
    """A random part of the images, drawn by the seed of the run.

    Attributes:
        training: for training, validation cut included, in (0, 1); the rest is the test split.
        groups: `none` splits image by image, as most published splits do (neighbours may then
            straddle); `group` keeps groups whole.
    """

    training: float
    groups: Literal["group", "none"] = "none"


@dataclass(frozen=True)
class GivenSplits:
    """Train and test (and val) as the data bring them, by lists or folders."""


@dataclass(frozen=True)
class GivenFolds:
    """The column `fold` of the data, 1 to `count`: `data.fold` is tested, the others train."""

    count: int


@dataclass(frozen=True)
class Elsewhere:
    """Nobody trains on these data: the whole set tests models that never saw a picture of it."""


@dataclass(frozen=True)
class Coarser:
    """Fewer classes than a set, or a model, has.

    Attributes:
        classes: their names, sorted.
        of: label -> the class of these that it belongs to; "" if to none, and its images are left
            out; None if nobody knows the label. Each of `classes` belongs to itself.
    """

    classes: tuple[str, ...]
    of: Callable[[str], str | None]


@dataclass(frozen=True)
class Protocol:
    """A named way of splitting a data set, and of labelling it.

    Attributes:
        layouts: the layouts that it is defined for; () for any.
        split: who is trained on and who is tested.
        source: where the protocol comes from, written beside every result.
        multilabel: whether it is for images with several labels.
        labels: rows of a table -> the label of each by this protocol, "" for those that it leaves
            out; None where the columns do not say, as of other sets. Without it the column `label`
            counts.
        coarser: what the labels become; the probabilities of a model with finer classes are
            summed. None leaves the labels as they are.
        shared_classes: labels that the model does not know are left out and counted, not refused.
    """

    layouts: tuple[str, ...]
    split: Share | GivenSplits | GivenFolds | Elsewhere
    source: str
    multilabel: bool = False
    labels: Callable[[pd.DataFrame], Sequence[str] | None] | None = None
    coarser: Coarser | None = None
    shared_classes: bool = False


# Rows of a table, and the classes -> shares (N, C), or None for a set without them.
Distributions = Callable[["pd.DataFrame", "Sequence[str]"], "np.ndarray | None"]


@dataclass(frozen=True)
class CardText:
    """The parts of a model card that belong to a field and not to a run."""

    intended_use: str
    out_of_scope: str
    limits: str
    consent: str


class FieldMeasures(Interface):
    """What a field measures beyond the figures that all share, and shows in the report."""

    @property
    def name(self) -> str:
        """The key of its figures in metrics.json."""

    @property
    def per_item(self) -> tuple[str, ...]:
        """Those of its columns of predictions.csv whose means `compare` pairs."""

    def recorded(self, answers: Answers, rows: pd.DataFrame) -> dict[str, Any]:
        """What later evaluations need of the validation split (thresholds say), for the bundle.

        Args:
            answers: to the validation images.
            rows: the manifest's row of each, with the application's own columns.
        """

    def measured(self, answers: Answers, rows: pd.DataFrame, bundle: Bundle) -> Measured:
        """The field's figures of a split, and columns of predictions.csv (none for a bare frame).

        Args:
            answers: to the images of the split.
            rows: the manifest's row of each, and `sha256`, the content of its file.
            bundle: the model; `bundle.metrics[name]` is what `recorded` gave.
        """

    def scored(self, answers: Answers, rows: pd.DataFrame) -> Measured | None:
        """The field's figures of somebody's table, for `score`; None where it needs a model.

        Args:
            answers: to the images of the table.
            rows: what the table of truth says of each, all columns as they are there.
        """

    def differences(
        self,
        truth_N: np.ndarray,
        classes: list[str],
        probabilities_a_NC: np.ndarray,
        probabilities_b_NC: np.ndarray,
        groups_N: np.ndarray,
        bootstrap: Bootstrap,
    ) -> dict[str, dict[str, Any]]:
        """A minus B on the same N items, for `compare`.

        Args:
            truth_N: class numbers.
            classes: C names.
            probabilities_a_NC: what A said.
            probabilities_b_NC: what B said.
            groups_N: what is resampled as a whole.
            bootstrap: of the intervals.

        Returns:
            Measure -> the fields of `resampling.Interval`, and `a` and `b`, the value of either.
        """

    def pooled(self, answers: Answers, folds_N: np.ndarray, bootstrap: Bootstrap) -> dict[str, Any]:
        """The field's figures over the items of all folds, for `pool`.

        Args:
            answers: each of the model that was not trained on the item.
            folds_N: the name of its fold.
            bootstrap: of the intervals.
        """

    def sections(self) -> Sequence[tuple[str, str, Callable[[Build], Markup | str]]]:
        """Sections of the report: anchor, heading, and what builds it (a `str` says why not)."""

    def show(self, metrics: Mapping[str, Any], *, quiet: bool) -> None:
        """The field's figures in the terminal, after the shared ones.

        Args:
            metrics: what `measured` gave.
            quiet: show nothing.
        """

    def headlines(self, metrics: Mapping[str, Any]) -> Sequence[Figure]:
        """Figures that stand on top of the report, before the shared ones; at most 4 are shown.

        Args:
            metrics: the field's own: what `recorded` or `measured` gave; maybe empty.
        """


class Aim(Interface):
    """What models of a field are trained and judged for: the steps of `train` that hang on it.

    `shell.labelled` is the usual one: images of classes.
    """

    def require_fit(self, domain: Domain, spec: RunSpec, manifest: Manifest) -> None:
        """Refuse a configuration that is made for other data.

        Raises:
            UserError: naming what does not fit and what would.
        """

    def prepare(
        self, domain: Domain, manifest: Manifest, spec: RunSpec, *, quiet: bool
    ) -> Prepared:
        """Check the set, leave out what cannot be used, and split it into train, val and test.

        Raises:
            UserError: if too little is left.
        """

    def validate(self, setup: Setup, embedder: Embedder) -> dict[str, float]:
        """Scores of the validation split that can choose the best epoch; larger is better.

        Raises:
            UserError: if an answer is not finite.
        """

    def conclude(
        self,
        domain: Domain,
        out: Path,
        setup: Setup,
        result: FitResult,
        *,
        include_images: bool,
        quiet: bool,
    ) -> None:
        """Write the bundle `out`/model and the report of a finished run, and show its figures."""


@dataclass(frozen=True)
class Domain:
    """One application, as the shared commands see it.

    Attributes:
        name: the name on the command line, e.g. `remote-sensing`.
        folder: the folder of its configurations, e.g. `remote_sensing`.
        default_config: the configuration that `train` takes without `--config`.
        multilabel_config: a configuration for sets with several labels per image, to be named when
            another one is tried there; "" where the field has no such sets.
        recognise: path of a data set -> Manifest; imports what it needs when called.
        samples: the public layouts in which `sample` writes, the usual one first.
        write_sample: (out, seed, layout, and how much by name where the field asks for it) -> root
            of a generated data set.
        protocols: named protocols.
        card: what the model card says of the field.
        licences: terms of known layouts, e.g. `{"aid": "academic use only"}`.
        demo: (journal, run, out): what `make demo` shows beyond the shared commands.
        tour: (journal, out): what `make demo` shows in their place, where they are not the field's.
        aim: gives what models are trained for, where it is not the class of an image; imports when
            called.
        measures: gives what the field measures beyond the shared figures; imports when called.
        notice: a sentence that stands on top of every report; "" for none.
        screen: what commands read in place of data whose names could name a person; see
            `screening`. None: names of files say nothing of people.
        screen_names: paths or groups in a table -> what `screen` calls them.
        sequences: images are frames of videos: neighbours are alike, and no near duplicates.
        grey: pictures of the field's sets are grey or in colour as it comes, and count as grey in
            `inspect`; what a run does is in its configuration.
        distributions: what several annotators said of the images of some rows of a table, shares of
            the classes that sum to 1, shape (N, C); None where the set says nothing of them.
        absent: what a set knows of items of which it has no image, though it has a label (no face
            was found in a photograph, say): `path`, `label`, `split`, `group`, `status`, `reason`
            and what else it knows of them; None for a set without. See `coverage`.
        biometric: embeddings of the field's images tell who somebody is; a finished run keeps none
            beside its model.
        remarks_on: what checks shall tell of an image's pixels (height x width x bands); pictures
            with remarks are shown in no report.
    """

    name: str
    folder: str
    default_config: str
    recognise: Callable[[Path], Manifest]
    samples: tuple[str, ...]
    write_sample: Callable[..., Path]
    card: CardText
    protocols: Mapping[str, Protocol] = field(default_factory=dict)
    licences: Mapping[str, str] = field(default_factory=dict)
    multilabel_config: str = ""
    demo: Callable[[Journal, Path, Path], None] | None = None
    tour: Callable[[Journal, Path], None] | None = None
    aim: Callable[[], Aim] | None = None
    measures: Callable[[], FieldMeasures] | None = None
    notice: str = ""
    screen: Callable[[Path], Path] | None = None
    screen_names: Callable[[Sequence[str]], list[str]] | None = None
    sequences: bool = False
    grey: bool = False
    biometric: bool = False
    remarks_on: Callable[[np.ndarray], Sequence[Remark]] | None = None
    distributions: Distributions | None = None
    absent: Callable[[Manifest], pd.DataFrame | None] | None = None
