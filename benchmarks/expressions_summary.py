"""Tables of the experiment on displayed expressions from its recorded runs; also the manual's.

python benchmarks/expressions.py summary   writes its summary and part of docs/facial-expression.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiments import RESULTS, ROOT
from expressions import JOBS, TABLE, rows_of
from expressions_arms import ARMS, COPIES
from expressions_measures import (
    OTHER_READOUTS,
    RANKINGS,
    VOTES,
    by_others,
    completed,
    recognition,
)
from expressions_subclasses import SUBCLASSES, render_subclasses
from floors import FACES, NOTHING, Floor, read_floors
from floors import shown as shown_floor
from summaries import (
    NOT_RUN,
    Answers,
    Block,
    Measure,
    difference_heads,
    difference_rows,
    publish,
    read_items,
    section,
    shown,
    table,
    total_of_runs,
)

NAMES = {
    "a": "(a) cross-entropy",
    "b": "(b) Gaussian structure",
    "c": "(c) both",
    "d": "(d) both, from (c), with sub-classes",
    "d0": "(d0) both, from (c), without them",
    "e": "(e) triplets",
    "s": "(s) cross-entropy with the votes",
    "k": "(k) cross-entropy, copies of test pictures left in",
    "b1": "(b1) Gaussian structure, own picture left out of its mean",
    "c1": "(c1) both, own picture left out of its mean",
    "preact": "(c) with PreActResNet-18 at 64 px",
}
HEAD = {**recognition(), "map_at_r": RANKINGS["map_at_r"]}
MEANS = {  # column of the runs -> title
    "recall_at_1": "R@1",
    "map_at_r_cosine": "MAP@R by the cosine",
    "nmi": "NMI",
    "ece": "ECE",
    **{name: measure.title for name, measure in VOTES.items()},
}
MEANS_TOLD = (
    "Means over seeds, least and greatest seed in brackets. ECE of probabilities calibrated on\n"
    "validation labels. KL in nats, to the shares of the annotators' votes: with a temperature\n"
    "fitted to validation votes, and as the model says it."
)
HUMAN_TOLD = (
    "How well does a human do? One annotator of a picture is left out; the label is what most of\n"
    "the others said, where they have one, and annotator and models are judged by it."
)
COST = {"images_per_s": "images/s", "epoch_seconds": "seconds per epoch"}
COST_TOLD = "Of training, one core; the machine may be shared: told, not compared."
CLAIMS = {  # figure -> first arm, second arm
    "map_at_r": (("b", "a"), ("c", "a"), ("d", "d0"), ("b", "e")),
    "accuracy": (("c", "a"), ("d", "d0"), ("b", "e"), ("s", "a"), ("k", "a")),
    "kl": (("s", "a"),),
}
LATER = {  # as `CLAIMS`, of arms that were added when scores were known
    "map_at_r": (("b1", "b"), ("c1", "c"), ("c1", "a"), ("b1", "a")),
    "accuracy": (("b1", "b"), ("c1", "c"), ("c1", "a")),
}
READOUT_NAMES = {
    "nearest_centre": "nearest class mean",
    "gaussian": "Gaussian posterior",
    "nearest_subclass": "nearest sub-class mean",
    "knn": "11 nearest neighbours",
}
SUMMARY = RESULTS / "expressions_summary.md"
MANUAL = ROOT / "docs" / "facial-expression.md"
BLOCK = Block(MANUAL, "expressions", "benchmarks/expressions.py summary")


@dataclass(frozen=True)
class Recorded:
    """All that the tables are made of; frames without rows for what was not run.

    Attributes:
        runs: every run, failed ones too.
        items: what was said of the test pictures.
        floors: features -> figure -> value, low, high.
        subclasses: what `expressions_subclasses.compared` found; empty before.
    """

    runs: pd.DataFrame
    items: pd.DataFrame
    floors: Mapping[str, Mapping[str, Floor]]
    subclasses: Mapping[str, Any]

    @property
    def answers(self) -> Answers:
        """All seeds met the same test pictures."""
        return Answers(self.items, run="seed", item="picture", shared_groups=True)

    @property
    def done(self) -> pd.DataFrame:
        """The last row of each finished run."""
        finished = self.runs[self.runs["status"] == "done"]
        return finished.drop_duplicates(["arm", "seed"], keep="last")


def read_recorded() -> Recorded:
    """What was recorded so far."""
    items = read_items(TABLE.items(), ("arm", "seed"))
    known = json.loads(SUBCLASSES.read_text(encoding="utf-8")) if SUBCLASSES.exists() else {}
    floors = read_floors().get("ferplus", {})
    return Recorded(TABLE.read(), completed(items) if len(items) else items, floors, known)


def summarise() -> None:
    """Write the summary beside the table, and its first part into the manual."""
    recorded = read_recorded()
    head = render_head(recorded)
    publish(SUMMARY, render(recorded, head))
    BLOCK.write(head)


def render(recorded: Recorded, head: str) -> str:
    """The whole summary; `head` is its first part."""
    parts = [
        "# Displayed expressions: results",
        "Protocol: `benchmarks/expressions.md`. Expressions as judged by annotators, never what a "
        "person feels.",
        head,
        render_differences(recorded),
        render_means(recorded, MEANS, "Other figures", MEANS_TOLD),
        render_readouts(recorded),
        render_copies(recorded),
        render_subclasses(recorded.subclasses),
        render_means(recorded, COST, "Cost", COST_TOLD),
        total_of_runs(recorded.runs, TABLE.path.name),
    ]
    return "\n\n".join(parts) + "\n"


def planned(arm: str) -> int:
    """How many seeds an arm is to have."""
    return sum((arm, seed) in rows_of((one, seed)) for one, seed in JOBS)


def render_head(recorded: Recorded) -> str:
    """One row per arm, then what simple features reach; and all arms beside a human."""
    rows = []
    for arm in ARMS:
        found = [recorded.answers.estimate(arm, measure) for measure in HEAD.values()]
        cells = [shown(one[1]) for one in found if one is not None]
        done = f"{len(recorded.answers.runs(arm))} of {planned(arm)}" if cells else NOT_RUN
        rows.append([NAMES[arm], done, *cells])
    for features, title in FACES.items():
        known = recorded.floors.get(features, {})
        cells = [shown_floor(known[name]) if name in known else "" for name in HEAD]
        how = "" if features == NOTHING else ", logistic regression"
        rows.append([f"{title}{how}", "" if known else NOT_RUN, *cells])
    titles = [measure.title for measure in HEAD.values()]
    return "\n\n".join([table(["FER+ (part)", "seeds", *titles], rows), render_human(recorded)])


def render_differences(recorded: Recorded) -> str:
    """The claims of the protocol, Holm-corrected over all of them; and what was explored after."""
    claims = section(
        "Paired differences",
        "95 % intervals by two-level bootstrap, 2,000 replicates: seeds, then groups of test\n"
        "pictures, the same in all seeds. Three seeds are few: intervals too narrow by about\n"
        "sqrt(2 / 3). A negative difference of KL speaks for the first arm. A row of one seed\n"
        "covers evaluation noise only: no claim.",
        _differences(recorded, CLAIMS),
    )
    explored = section(
        "Explored after the first scores",
        "Arms that were thought of when the scores above were known: they suggest, and claim\n"
        "nothing. Holm over this table alone.",
        _differences(recorded, LATER),
    )
    return f"{claims}\n\n{explored}"


def _differences(recorded: Recorded, pairs_of: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    known = {**HEAD, **VOTES}
    found = [
        (
            f"({first}) - ({second}), {known[name].title}",
            recorded.answers.difference(first, second, known[name]),
        )
        for name, pairs in pairs_of.items()
        for first, second in pairs
    ]
    return table(difference_heads("seeds"), difference_rows(found) or [[NOT_RUN]])


def render_means(recorded: Recorded, columns: Mapping[str, str], title: str, told: str) -> str:
    """What has no claim: means over seeds, and how far apart these are."""
    rows = []
    for arm in ARMS:
        runs = recorded.done[recorded.done["arm"] == arm]
        cells = [spread(runs[name].to_numpy(np.float64)) for name in columns] if len(runs) else []
        rows.append([NAMES[arm], *(cells or [NOT_RUN])])
    return section(title, told, table(["", *columns.values()], rows))


def spread(values: np.ndarray) -> str:
    """`mean (least to greatest)`; of one value alone that value."""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{values.mean():.3f} ({values.min():.3f} to {values.max():.3f})"


def render_human(recorded: Recorded) -> str:
    """One annotator and every arm, where the label is that of the other annotators."""
    answers, heads = recorded.answers, [measure.title for measure in by_others("human")]
    asked = [(NAMES[arm], arm, by_others("model")) for arm in ARMS]
    there = [arm for arm in ARMS if answers.runs(arm)]
    asked += [("one annotator", arm, by_others("human")) for arm in there[:1]]  # same in all arms
    rows = []
    for name, arm, measures in asked:
        found = [answers.estimate(arm, measure) for measure in measures]
        rows.append([name, *(NOT_RUN if one is None else shown(one[1]) for one in found)])
    return "\n\n".join([HUMAN_TOLD, table(["one annotator against the others", *heads], rows)])


def render_readouts(recorded: Recorded) -> str:
    """Accuracy and balanced accuracy by the read-outs that a model has beside the headline."""
    rows = []
    for arm in ARMS:
        for readout in OTHER_READOUTS:
            parts = recorded.answers.of(arm)
            if not parts or (parts[0][f"said_{readout}"] == "").any():
                continue
            known = recognition(readout)
            cells = [over_seeds(parts, known[name]) for name in ("accuracy", "balanced_accuracy")]
            rows.append([NAMES[arm], READOUT_NAMES[readout], *cells])
    heads = ["", "read-out", "accuracy", "balanced accuracy"]
    return section(
        "Other read-outs",
        "Fitted on training pictures only; means over seeds, least and greatest seed in brackets.",
        table(heads, rows or [[NOT_RUN]]),
    )


def over_seeds(parts: Sequence[pd.DataFrame], measure: Measure) -> str:
    """`spread` of a figure of each seed's items."""
    sums = [measure.sums(part).sum(axis=0) for part in parts]
    values = [measure.statistic(np.asarray(one, np.float64).reshape(1, -1))[0] for one in sums]
    return spread(np.array(values))


def render_copies(recorded: Recorded) -> str:
    """What copies in training do to the test pictures that have one, and to the others."""
    accuracy, rows = recognition()["accuracy"], []
    for title, copied in (("that have a copy in training", True), ("that have none", False)):
        items = recorded.items
        part = items[items["copied"] == copied] if len(items) else items
        answers = Answers(part, run="seed", item="picture", shared_groups=True)
        cells = [
            NOT_RUN if found is None else shown(found[1])
            for found in (
                *(answers.estimate(arm, accuracy) for arm in ("a", COPIES)),
                answers.difference(COPIES, "a", accuracy),
            )
        ]
        count = part["picture"].nunique() if len(part) else ""
        rows.append([title, count, *cells])
    return section(
        "Copies of test pictures in training",
        "Accuracy on the test pictures with and without a copy, to the pixel, in the published\n"
        "training part. Only (k) was trained on these copies. Described, not tested.",
        table(["test pictures", "number", "(a)", "(k)", "(k) - (a)"], rows),
    )
