"""Why do two figures differ? Score again, one rule switched at a time, until they agree.

The path leads from A's rules to B's, on A's features. At every step that rule is switched which
brings the figures nearest to B's, so a rule that does it alone is named alone. The steps add up to
the difference; how much each is given depends on those before it. What the rules leave is up to
the inputs: the features, or what the tables say of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from likeness.errors import UserError
from likeness.evaluation.ranking_rules import RankingRules
from likeness.search.space import Space
from likeness_apps.person_reid.protocols import RankingProtocol
from likeness_apps.person_reid.scoring import headline, rank_parts
from likeness_apps.person_reid.tracklet_table import tracklet_table

SAME = 1e-9  # figures that differ by less agree
SPACE = "space"  # how features are compared is one rule more
Figures = dict[str, float]
Settings = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Scoring:
    """One of two results.

    Attributes:
        features_ND: one row per tracklet.
        table: N rows in the same order, see `tracklet_table`.
        protocol: its rules.
        space: how features are compared.
        stated: the figures that somebody wrote down; None: those that scoring gives.
    """

    features_ND: np.ndarray
    table: pd.DataFrame
    protocol: RankingProtocol
    space: Space = "cosine"
    stated: Figures | None = None


@dataclass(frozen=True)
class Step:
    """One rule switched.

    Attributes:
        rule: a field of `RankingRules`, or "space".
        before: what it was.
        after: what it is, as in B.
        figures: after the switch.
        change: by the switch.
    """

    rule: str
    before: Any
    after: Any
    figures: Figures
    change: Figures


@dataclass(frozen=True)
class Explanation:
    """What makes two results differ.

    Attributes:
        a: figures of A, scored again.
        b: figures of B, scored again.
        steps: rules switched from A's to B's, in order.
        not_needed: rules that differ, without which the figures agree.
        inputs: how the inputs differ; where the rules explain all, it does not matter.
        rest: B minus A after all steps: what the rules do not explain.
        unfounded: the results whose stated figures are not those that scoring again gives.
    """

    a: Figures
    b: Figures
    steps: tuple[Step, ...]
    not_needed: tuple[str, ...]
    inputs: tuple[str, ...]
    rest: Figures
    unfounded: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The answer in a sentence or two."""
        named = ", ".join(step.rule for step in self.steps)
        inputs = "; ".join(self.inputs)
        if not self.steps and _none(self.rest):
            answer = "The figures agree."
        elif _none(self.rest):
            answer = f"The rules explain the whole difference: {named}."
        elif any(not _none(step.change) for step in self.steps):
            answer = f"The rules explain a part: {named}. For the rest the inputs differ: {inputs}."
        else:
            answer = f"It is not the rules: the inputs differ: {inputs}."
        doubts = [f" What {name} states is not what its inputs give." for name in self.unfounded]
        return answer + "".join(doubts)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self) | {"verdict": self.verdict}


def explain_score(a: Scoring, b: Scoring) -> Explanation:
    """Name the rules, or the inputs, that make two results differ.

    Every step scores once for each rule that still differs: seconds at the size of MARS.

    Raises:
        UserError: if one of the two cannot be scored.
    """
    rules_a, rules_b = _settings(a), _settings(b)
    figures_a, figures_b = _figures(a, rules_a), _figures(b, rules_b)
    steps, left = _path(a, figures_a, figures_b, rules_a, rules_b)
    reached = steps[-1].figures if steps else figures_a
    sides = (("A", a, figures_a), ("B", b, figures_b))
    return Explanation(
        a=figures_a,
        b=figures_b,
        steps=tuple(steps),
        not_needed=tuple(left),
        inputs=tuple(_input_differences(a, b)),
        rest=_minus(figures_b, reached),
        unfounded=tuple(
            name
            for name, side, figures in sides
            if side.stated is not None and not _none(_minus(figures, side.stated))
        ),
    )


def _path(
    a: Scoring, figures: Figures, goal: Figures, rules_a: Settings, rules_b: Settings
) -> tuple[list[Step], list[str]]:
    """The rules switched until the figures agree, and those that were not needed."""
    current = dict(rules_a)
    left = [name for name in current if current[name] != rules_b[name]]
    steps: list[Step] = []
    while left and not _none(_minus(goal, figures)):
        tried = _tried(a, current, {name: rules_b[name] for name in left})
        if not tried:
            break
        chosen = min(tried, key=lambda name: _size(_minus(goal, tried[name])))
        change = _minus(tried[chosen], figures)
        steps.append(Step(chosen, current[chosen], rules_b[chosen], tried[chosen], change))
        current[chosen], figures = rules_b[chosen], tried[chosen]
        left.remove(chosen)
    return steps, left


def _tried(a: Scoring, current: Settings, switches: Settings) -> dict[str, Figures]:
    """The figures after each switch alone; a rule that leaves no gallery by itself comes later."""
    found = {}
    for name, value in switches.items():
        try:
            found[name] = _figures(a, current | {name: value})
        except UserError:
            continue
    return found


def _settings(side: Scoring) -> Settings:
    """All that may be switched; the camera pairs are no part of the figures."""
    rules = asdict(side.protocol.rules)
    del rules["pairs_keep_junk"]
    return rules | {SPACE: side.space}


def _figures(side: Scoring, settings: Settings) -> Figures:
    rules = RankingRules(**{name: value for name, value in settings.items() if name != SPACE})
    protocol = replace(side.protocol, rules=rules)
    table = tracklet_table(side.table)
    space = settings[SPACE]
    return headline(rank_parts(side.features_ND, table, protocol, space=space, with_pairs=False))


def _minus(a: Mapping[str, float], b: Mapping[str, float]) -> Figures:
    """What a has more than b, of the figures of both; two undefined ones do not differ."""
    shared = [name for name in a if name in b]
    both_undefined = {name for name in shared if math.isnan(a[name]) and math.isnan(b[name])}
    return {name: 0.0 if name in both_undefined else a[name] - b[name] for name in shared}


def _none(change: Mapping[str, float]) -> bool:
    return all(abs(value) < SAME for value in change.values())


def _size(change: Mapping[str, float]) -> float:
    """How far apart; a figure that is undefined on one side only is as far as can be."""
    return sum(1.0 if math.isnan(value) else abs(value) for value in change.values())


def _input_differences(a: Scoring, b: Scoring) -> list[str]:
    """How the tracklets, what is said of them and their features differ."""
    tables = [tracklet_table(side.table) for side in (a, b)]
    keys = [pd.MultiIndex.from_frame(table[_key(table)]) for table in tables]
    place_N = keys[1].get_indexer(keys[0])
    common_N = place_N >= 0
    found = []
    only = int((~common_N).sum()), len(keys[1]) - int(common_N.sum())
    if any(only):
        found.append(f"{only[0]} tracklets are only in A, {only[1]} only in B")
    place_N = place_N[common_N]
    for column in ("label", "camera", "role"):
        a_N, b_N = tables[0][column].to_numpy(object)[common_N], tables[1][column].to_numpy(object)
        changed = int((a_N != b_N[place_N]).sum())
        if changed:
            found.append(f"{changed} tracklets have another {column}")
    a_ND, b_ND = a.features_ND[common_N], b.features_ND[place_N]
    if a_ND.shape != b_ND.shape:
        found.append(f"the features have {a_ND.shape[1]} and {b_ND.shape[1]} numbers")
    elif not np.array_equal(a_ND, b_ND):
        changed = int((a_ND != b_ND).any(axis=1).sum())
        found.append(f"the features of {changed} tracklets differ")
    return found


def _key(table: pd.DataFrame) -> list[str]:
    """What tells rows apart: the tracklet, and the splits where it is listed for several."""
    return [name for name in ("tracklet", "tested_in") if name in table.columns]
