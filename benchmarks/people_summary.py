"""Tables of the experiment on people from its recorded runs; also those of the manual.

python benchmarks/people.py summary   writes its summary and part of docs/person-reid.md

Legend: P people, S shares of wrong identities, R replicates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from experiments import RESULTS, ROOT
from likeness.evaluation.resampling import Statistic, mean_of_sums
from people import GENERATED, ITEMS, PKU, SHARES, STUDIES, TABLE, Study, wrong_tracklets
from people_arms import ARMS, FLOOR
from summaries import (
    NOT_RUN,
    Block,
    Compared,
    difference_heads,
    difference_rows,
    over_runs,
    paired_over_runs,
    publish,
    read_items,
    section,
    shown,
    table,
    total_of_runs,
)

NAMES = {
    "a": "(a) contrastive",
    "b": "(b) contrastive, soft mining (OSM)",
    "c": "(c) contrastive, attention (CAA)",
    "d": "(d) contrastive, both",
    "e": "(e) batch-hard triplets",
    "f": "(f) cross-entropy alone",
    FLOOR: "colours of stripes, nothing trained",
}
TITLES = {PKU.name: "PKU-Reid, pseudo-tracklets", GENERATED.name: "generated walkers"}
TRAINED = 48  # tracklets of a training half of PKU-Reid
MEASURES = {"mAP": "ap", "rank-1": "cmc@1"}  # title -> column of the items
CLEAN = ("ba", "ca", "da", "de", "df")  # first arm minus second, no wrong identities
ROBUST = ("ca", "cb", "da", "db")  # what wrong identities cost the first minus the second
SUMMARY = RESULTS / "people_summary.md"
MANUAL = ROOT / "docs" / "person-reid.md"
BLOCK = Block(MANUAL, "people", "benchmarks/people.py summary")


@dataclass(frozen=True)
class Figure:
    """A statistic of what queries found.

    Attributes:
        title: of its column.
        column: of the items.
        shares: of wrong identities, per cent, that it reads.
        statistic: of the (sum, count) of the column at each share, side by side.
    """

    title: str
    column: str
    shares: tuple[int, ...]
    statistic: Statistic


@dataclass(frozen=True)
class Recorded:
    """All that the tables are made of; frames without rows for what was not run.

    Attributes:
        runs: every run, failed ones too.
        items: study -> what every query found.
    """

    runs: pd.DataFrame
    items: Mapping[str, pd.DataFrame]


def mean_at(title: str, share: int) -> Figure:
    """Mean AP or rank-1 with a share of wrong identities."""
    named = title if share == 0 else f"{title} at {share} %"
    return Figure(named, MEASURES[title], (share,), mean_of_sums)


def cost(title: str) -> Figure:
    """How much mAP or rank-1 falls with every 10 % of wrong identities."""
    return Figure(f"{title} lost per 10 %", MEASURES[title], SHARES, lost_per_tenth)


def lost_per_tenth(sums_RF: np.ndarray) -> np.ndarray:
    """Minus the slope of the line through the means at `SHARES` by least squares, per 10 %.

    The line goes by what was really wrong: 5, 10 and 19 of the 48 training tracklets.
    """
    parts = np.split(sums_RF, len(SHARES), axis=1)
    mean_SR = np.stack([mean_of_sums(part) for part in parts])
    tenths_S = np.array([10 * wrong_tracklets(TRAINED, share) / TRAINED for share in SHARES])
    centred_S = tenths_S - tenths_S.mean()
    return np.asarray(-(centred_S @ mean_SR) / (centred_S @ centred_S))


def read_recorded() -> Recorded:
    """What was recorded so far."""
    columns = ("arm", "run", "share", *ITEMS)
    items = {study.name: read_items(study.items, columns) for study in STUDIES.values()}
    return Recorded(TABLE.read(), items)


def summarise() -> None:
    """Write the summary beside the table, and its first part into the manual."""
    recorded = read_recorded()
    head = render_head(recorded)
    publish(SUMMARY, render(recorded, head))
    BLOCK.write(head)


def render(recorded: Recorded, head: str) -> str:
    """The whole summary; `head` is its first part."""
    parts = [
        "# People: results",
        "Protocol: `benchmarks/people.md`. A pseudo-tracklet is eight orientations of somebody "
        "seen by one camera: no film, and nothing here is about time or motion.",
        head,
        render_differences(recorded),
        render_directions(recorded),
        total_of_runs(recorded.runs, TABLE.path.name),
    ]
    return "\n\n".join(parts) + "\n"


def render_head(recorded: Recorded) -> str:
    """The tables of both studies, the floor below the arms."""
    levels = [mean_at(title, 0) for title in MEASURES]
    wrong = [mean_at("mAP", share) for share in SHARES[1:]]
    costs = [cost(title) for title in MEASURES]
    return "\n\n".join(
        [
            render_table(recorded.items[PKU.name], PKU, [*levels, *wrong, *costs]),
            render_table(recorded.items[GENERATED.name], GENERATED, levels),
        ]
    )


def render_table(items: pd.DataFrame, study: Study, figures: Sequence[Figure]) -> str:
    """One row per arm, means over runs with 95 % intervals over runs and people."""
    rows = []
    for arm in (*ARMS, FLOOR):
        found = [estimate(items, study, arm, figure) for figure in figures]
        cells = [NOT_RUN]
        if found[0] is not None:
            cells = [f"{found[0][0]} of {study.runs}"]
            cells += ["" if one is None else shown(one[1]) for one in found]
        rows.append([NAMES[arm], *cells])
    return table([TITLES[study.name], "runs", *(figure.title for figure in figures)], rows)


def runs_of(items: pd.DataFrame, arm: str, figure: Figure) -> set[int]:
    """The runs of an arm that have all shares of a figure."""
    rows = items[(items["arm"] == arm) & items["share"].isin(figure.shares)]
    shares = rows.groupby("run")["share"].nunique()
    return set(shares.index[shares == len(figure.shares)])


def sums_of(
    items: pd.DataFrame, study: Study, arm: str, figure: Figure, runs: Sequence[int]
) -> list[np.ndarray]:
    """For each run, (sum, count) of a column over each person's queries: (P, 2 S).

    Halves of one set share people: there a row is the same person in all runs, with nothing in it
    where that person was not tested, and one draw of people serves all halves of a replicate.
    """
    chosen = items[(items["arm"] == arm) & items["run"].isin(runs)]
    found = []
    for run in runs:
        part = chosen[chosen["run"] == run]
        people = sorted((chosen if study.shared_people else part)["label"].unique())
        tables = []
        for share in figure.shares:
            by_person = part[part["share"] == share].groupby("label")[figure.column]
            tables.append(by_person.agg(["sum", "count"]).reindex(people, fill_value=0))
        found.append(np.hstack(tables).astype(np.float64))
    return found


def estimate(items: pd.DataFrame, study: Study, arm: str, figure: Figure) -> Compared | None:
    """The figure of an arm over its runs; None without one."""
    runs = sorted(runs_of(items, arm, figure))
    if not runs:
        return None
    sums = sums_of(items, study, arm, figure, runs)
    return len(runs), over_runs(sums, figure.statistic, shared_groups=study.shared_people)


def difference(items: pd.DataFrame, study: Study, pair: str, figure: Figure) -> Compared | None:
    """The first arm minus the second over the runs that both have; None without one."""
    runs = sorted(set.intersection(*(runs_of(items, arm, figure) for arm in pair)))
    if not runs:
        return None
    first, second = (sums_of(items, study, arm, figure, runs) for arm in pair)
    shared = study.shared_people
    found = paired_over_runs(first, second, figure.statistic, shared_groups=shared)
    return len(runs), found


def render_differences(recorded: Recorded) -> str:
    """The claims of the protocol, Holm-corrected over those of one study and measure."""
    rows: list[list[str]] = []
    for title in MEASURES:
        clean, lost = mean_at(title, 0), cost(title)
        wanted = [*product([clean], CLEAN), *product([lost], ROBUST)]
        rows += _differences(recorded.items[PKU.name], PKU, wanted)
        rows += _differences(recorded.items[GENERATED.name], GENERATED, wanted[: len(CLEAN)])
    return section(
        "Paired differences",
        "95 % intervals by two-level bootstrap, 2,000 replicates: halves, then people, the same\n"
        "people in all halves of a replicate; generated sets, then people. Claims are about mAP;\n"
        "rank-1 is shown beside them. A negative difference of what is lost speaks for the first\n"
        "arm. A row of one run covers evaluation noise only: no claim.",
        table(difference_heads(), rows),
    )


def _differences(
    items: pd.DataFrame, study: Study, wanted: Sequence[tuple[Figure, str]]
) -> list[list[str]]:
    found = [
        (
            f"{study.name}: ({pair[0]}) - ({pair[1]}), {figure.title}",
            difference(items, study, pair, figure),
        )
        for figure, pair in wanted
    ]
    return difference_rows(found) or [[f"{study.name}, {wanted[0][0].title}", NOT_RUN]]


def render_directions(recorded: Recorded) -> str:
    """PKU-Reid without wrong identities, by the camera that asks."""
    items = recorded.items[PKU.name]
    figures = [mean_at(title, 0) for title in MEASURES]
    parts = []
    for asking, asked in (("1", "2"), ("2", "1")):
        parts.append(f"Camera {asking} asks camera {asked}:")
        parts.append(render_table(items[items["camera"] == asking], PKU, figures))
    return section("PKU-Reid by direction, no wrong identities", *parts)
