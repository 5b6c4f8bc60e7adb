"""What the summaries of experiments share: figures over runs, paired differences, tables.

    answers = Answers(items, run="seed", item="image", shared_groups=True)
    accuracy = mean_of("accuracy", "correct")
    answers.estimate("a", accuracy)            how many runs, value and interval
    answers.difference("b", "a", accuracy)     likewise, over the runs that both arms have
    table(heads, difference_rows(...))         Holm over all differences given together
    publish(SUMMARY, text)
    Block(README, "aid", "benchmarks/aid_scenes.py summary").write(first_table)

Items are what was recorded of each test item; see `experiments`. All intervals are of 95 %, by a
bootstrap of 2,000 replicates with seed 0: runs are drawn, then groups of items. With n runs they
are too narrow by about sqrt((n - 1) / n). Of one run alone there is nothing to draw runs from: its
interval covers evaluation noise only, and a summary says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from likeness.evaluation.resampling import (
    Bootstrap,
    Interval,
    Statistic,
    Sums,
    holm,
    interval,
    mean_of_sums,
    mean_sums,
    paired_difference,
    two_level_difference,
    two_level_interval,
)
from likeness.files import write_text

BOOTSTRAP = Bootstrap(replicates=2000, seed=0)
NOT_RUN = "not run yet"
Compared = tuple[int, Interval]  # over how many runs, and what was found


# --- figures --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measure:
    """A figure: its title, the sums of each group's items, and the statistic of summed sums."""

    title: str
    sums: Callable[[pd.DataFrame], Sums]
    statistic: Statistic


def mean_of(title: str, column: str) -> Measure:
    """The mean of a column; an item with nan does not count."""
    return Measure(title, partial(means_by_group, column=column), mean_of_sums)


def means_by_group(items: pd.DataFrame, column: str) -> Sums:
    """Sum and count of a column in each group."""
    return mean_sums(items[column].to_numpy(np.float64), items["group"].to_numpy(dtype=str))


def over_runs(runs: Sequence[Sums], statistic: Statistic, *, shared_groups: bool) -> Interval:
    """A figure over runs; `shared_groups` as in `two_level_interval`."""
    if len(runs) == 1:
        return interval(runs[0], statistic, BOOTSTRAP)
    return two_level_interval(runs, statistic, BOOTSTRAP, shared_groups=shared_groups)


def paired_over_runs(
    first: Sequence[Sums], second: Sequence[Sums], statistic: Statistic, *, shared_groups: bool
) -> Interval:
    """The first arm's figure minus the second's over paired runs, with a p-value."""
    if len(first) == 1:
        return paired_difference(first[0], second[0], statistic, BOOTSTRAP)
    return two_level_difference(first, second, statistic, BOOTSTRAP, shared_groups=shared_groups)


@dataclass(frozen=True)
class Answers:
    """What the arms of one study said of its test items.

    Attributes:
        items: with `arm`, `group` and the columns `run` and `item`, in any order.
        run: the column that names a run: a seed, a fold.
        item: the column that names an item within a run.
        shared_groups: True where all runs tested the same groups (seeds), False where each had
            groups of its own (folds).
    """

    items: pd.DataFrame
    run: str
    item: str
    shared_groups: bool

    def runs(self, arm: str) -> list[int]:
        """The runs that an arm has."""
        return sorted(self.items.loc[self.items["arm"] == arm, self.run].unique())

    def of(self, arm: str, runs: Sequence[int] | None = None) -> list[pd.DataFrame]:
        """The items of each run of an arm, in the same order in all arms."""
        chosen = self.items[self.items["arm"] == arm]
        wanted = self.runs(arm) if runs is None else runs
        return [chosen[chosen[self.run] == run].sort_values(self.item) for run in wanted]

    def estimate(self, arm: str, measure: Measure) -> Compared | None:
        """A figure of an arm; None if it has no run."""
        sums = [measure.sums(part) for part in self.of(arm)]
        if not sums:
            return None
        found = over_runs(sums, measure.statistic, shared_groups=self.shared_groups)
        return len(sums), found

    def difference(self, first: str, second: str, measure: Measure) -> Compared | None:
        """The first arm minus the second over the runs that both have; None if there is none."""
        both = sorted(set(self.runs(first)) & set(self.runs(second)))
        if not both:
            return None
        a, b = ([measure.sums(part) for part in self.of(arm, both)] for arm in (first, second))
        found = paired_over_runs(a, b, measure.statistic, shared_groups=self.shared_groups)
        return len(both), found


def read_items(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """The items that were recorded; `columns` without rows if there are none yet."""
    return pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=list(columns))


# --- tables ---------------------------------------------------------------------------------------


def row(cells: Sequence[object], width: int = 0) -> str:
    """A line of a table in markdown; cells that are missing to `width` are empty."""
    return f"| {' | '.join(map(str, cells))} |" + " |" * (width - len(cells))


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in markdown; a row may end early."""
    width = len(heads)
    return "\n".join([row(heads), "|---" * width + "|", *(row(cells, width) for cells in rows)])


def shown(found: Interval) -> str:
    """`value [low, high]`."""
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def difference_heads(run: str = "runs") -> list[str]:
    """The heads above `difference_rows`; `run` says what the runs are."""
    return ["comparison", run, "difference", "95 % interval", "p (Holm)"]


def difference_rows(found: Iterable[tuple[str, Compared | None]]) -> list[list[str]]:
    """Titled differences, Holm-corrected over all of them; those not run are left out."""
    rows = [(title, *compared) for title, compared in found if compared is not None]
    p_values = corrected([one for _, _, one in rows])
    return [
        [title, str(runs), f"{one.value:+.4f}", f"[{one.low:+.4f}, {one.high:+.4f}]", f"{p:.3g}"]
        for (title, runs, one), p in zip(rows, p_values, strict=True)
    ]


def corrected(found: Iterable[Interval]) -> list[float]:
    """P-values by Holm over all; an interval that could not be drawn has none, and gets 1."""
    return list(holm([1.0 if one.p_value is None else one.p_value for one in found]))


def section(title: str, *parts: str) -> str:
    """A heading and what stands below it."""
    return "\n\n".join([f"## {title}", *parts])


def total_of_runs(runs: pd.DataFrame, file: str) -> str:
    """How many runs there are, failed and abandoned ones too."""
    counts = runs["status"].value_counts()
    total = ", ".join(f"{count} {name}" for name, count in counts.items()) or "none yet"
    return section("Runs", f"{total}; all rows in `{file}`.")


# --- documents ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A part of a document that a command writes, between two lines of its own.

    Attributes:
        document: the file.
        name: of the part.
        command: that writes it.
    """

    document: Path
    name: str
    command: str

    def within(self, text: str, block: str) -> str:
        """The document's text with `block` in its place; at the end if it has none yet."""
        begin = f"<!-- {self.name}:begin (made by {self.command}) -->"
        end = f"<!-- {self.name}:end -->"
        before, _, rest = text.partition(begin)
        after = rest.partition(end)[2]
        return f"{before}{begin}\n{block}\n{end}{after}"

    def write(self, block: str) -> None:
        """Put `block` into the document."""
        write_text(self.document, self.within(self.document.read_text(encoding="utf-8"), block))


def publish(summary: Path, text: str) -> None:
    """Write a summary, and print it."""
    write_text(summary, text)
    print(text)
