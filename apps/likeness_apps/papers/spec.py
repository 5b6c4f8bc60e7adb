"""What `configs/papers/<paper>.yaml` says: a paper's data, protocol, network and figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from likeness.config import Spec, parse
from likeness.errors import require
from likeness.training.spec import RunSpec
from likeness_apps.shell import configs

FOLDER = "papers"
NONE_READABLE = "none readable"
Runner = Literal["zero-shot", "cross-modal", "low-shot", "application"]


class Figure(Spec):
    """One figure that a paper (or its authors) printed.

    Attributes:
        layout: the set that it is of.
        measure: `recall@K`, `map@r` and the like of zero-shot retrieval; of `low-shot` its method
            and figure, `averaged.novel_accuracy@1` say; for an application, the place in its
            metrics.json, `classification.overall_accuracy` say.
        value: as a share, not in per cent.
        source: where it was read.
        network: that it was measured with, where it is not `run.model`'s.
    """

    layout: str
    measure: str = Field(min_length=1)
    value: float = Field(ge=0, le=1)
    source: str = Field(min_length=10)
    network: str = ""


class PaperSpec(Spec):
    """One paper.

    Attributes:
        paper: authors, title, venue, arXiv number.
        layouts: the sets that it measured and that we know, by the names of their layouts.
        data: its data in words.
        protocol: its protocol in words.
        settings: whether `run` is the paper's (or its code's), in part, or a reconstruction.
        ours: what of it is ours.
        published: its figures, or `none readable`.
        runner: `zero-shot` trains on some classes and searches others; `cross-modal` likewise, with
            sketches that ask for photographs; `low-shot` trains on some classes and shows a few
            images of others; `application` is an app's `train` and `evaluate`.
        app: of `application`, its name on the command line.
        evaluate: of `application`, further words for its `evaluate`.
        method: of `cross-modal`, the method of that benchmark.
        shots: of `low-shot`, how many images of each novel class are shown.
        teacher: a network that is trained first, whose embeddings `run` learns from.
        run: the configuration.
        per_set: layout -> `a.b=c` items of `run` that are others on this set.
    """

    paper: str = Field(min_length=20)
    layouts: tuple[str, ...] = Field(min_length=1)
    data: str
    protocol: str
    settings: Literal["confirmed", "in part", "reconstruction"]
    ours: str
    published: tuple[Figure, ...] | Literal["none readable"]
    runner: Runner = "zero-shot"
    app: str = ""
    evaluate: tuple[str, ...] = ()
    method: str = ""
    shots: tuple[int, ...] = ()
    teacher: RunSpec | None = None
    run: RunSpec
    per_set: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _runner_has_what_it_needs(self) -> PaperSpec:
        needed = {
            "zero-shot": (),
            "cross-modal": ("method",),
            "low-shot": ("shots",),
            "application": ("app",),
        }
        for name in needed[self.runner]:
            rule = f"given for the runner {self.runner}"
            require(getattr(self, name), name, rule, getattr(self, name))
        return self

    @model_validator(mode="after")
    def _changes_of_its_sets(self) -> PaperSpec:
        rule = f"among layouts, {', '.join(self.layouts)}"
        for layout in self.per_set:
            require(layout in self.layouts, "per_set", rule, layout)
        return self

    @model_validator(mode="after")
    def _figures_of_its_sets(self) -> PaperSpec:
        for figure in self.figures():
            rule = f"one of layouts, {', '.join(self.layouts)}"
            require(figure.layout in self.layouts, "published.layout", rule, figure.layout)
        return self

    def figures(self, layout: str | None = None) -> list[Figure]:
        """The published figures, of one set or of all."""
        known = () if isinstance(self.published, str) else self.published
        return [one for one in known if layout in (None, one.layout)]


def load_paper(name: str, changes: Sequence[str] = (), *, layout: str = "") -> PaperSpec:
    """The paper of that name, with changes of its `run`.

    Args:
        name: of a shipped paper, or a YAML file of one's own.
        changes: `a.b=c` items, of `run`; they win over those of the set.
        layout: of the set, whose changes are made; none for the first of the paper's.

    Raises:
        UserError: for an unknown name, or a change that makes no configuration.
    """
    plain = configs.load(FOLDER, name, called="paper")
    changed = {configs.key_of(change) for change in changes}
    of_set = [
        change
        for change in parse(PaperSpec, plain, where=name).per_set.get(layout, ())
        if configs.key_of(change) not in changed
    ]
    items = [f"run.{change}" for change in (*of_set, *changes)]
    return parse(PaperSpec, configs.load(FOLDER, name, items), where=name)
