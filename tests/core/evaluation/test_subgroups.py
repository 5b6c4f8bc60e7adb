"""Subgroup tables: every item is in one row, small levels are counts only."""

import math

import numpy as np
import pandas as pd
import pytest

from likeness.errors import UserError
from likeness.evaluation.binary import discrimination
from likeness.evaluation.resampling import Bootstrap
from likeness.evaluation.subgroups import UNKNOWN, bands, level_names, subgroup_table
from likeness.evaluation.values import MetricValue


def lesions(seed=0, count=300):
    rng = np.random.default_rng(seed)
    truth = rng.random(count) < 0.4
    site = rng.choice(["back", "leg", "palm", ""], p=[0.5, 0.35, 0.05, 0.1], size=count)
    return truth, rng.normal(size=count) + truth, rng.integers(0, 150, size=count), site


def test_rows_equal_the_figures_of_their_items():
    truth, scores, patient, site = lesions()
    bootstrap = Bootstrap(100)

    def measure(rows):
        return discrimination(truth[rows], scores[rows], patient[rows], bootstrap=bootstrap)

    classes = {"melanoma": truth, "other": ~truth}
    table = subgroup_table(site, patient, classes, measure, minimum=20, minimum_of_class=5)
    assert [row.level for row in table] == ["back", "leg", "palm", UNKNOWN]
    assert sum(row.items for row in table) == 300
    for row in table:
        inside = site == ("" if row.level == UNKNOWN else row.level)
        assert row.items == inside.sum()
        assert row.groups == len(set(patient[inside]))
        assert row.counts == {"melanoma": truth[inside].sum(), "other": (~truth)[inside].sum()}
        if not row.reason:
            own = discrimination(
                truth[inside], scores[inside], patient[inside], bootstrap=bootstrap
            )
            assert row.values == own
            assert row.values["roc_auc"].low < row.values["roc_auc"].value
    assert [bool(row.reason) for row in table] == [False, False, True, False]


def test_small_levels_are_counts_only_and_never_measured():
    asked = []

    def measure(rows):
        asked.append(rows.tolist())
        return {"n": MetricValue(float(len(rows)), len(rows))}

    levels = ["a"] * 4 + ["b"] * 6 + ["c"] * 6
    ill = np.array([1, 1, 0, 0] + [1] + [0] * 5 + [1] * 3 + [0] * 3, dtype=bool)
    table = subgroup_table(
        levels, np.arange(16), {"ill": ill}, measure, minimum=5, minimum_of_class=2
    )
    assert [row.reason for row in table] == [
        "fewer than 5 items",
        "fewer than 2 items of ill",
        "",
    ]
    assert asked == [list(range(10, 16))]
    assert table[0].as_dict() == {
        "level": "a",
        "items": 4,
        "groups": 4,
        "counts": {"ill": 2},
        "values": {},
        "reason": "fewer than 5 items",
    }
    assert table[2].as_dict()["values"]["n"]["value"] == 6


def test_unknown_has_many_spellings():
    given = [None, float("nan"), np.nan, pd.NA, "", " ", "Unknown", "nan", "UNKNOWN ", "male ", 1.0]
    assert level_names(given) == [UNKNOWN] * 9 + ["male", "1.0"]


def test_bands_are_closed_below():
    ages = [29.9, 30, "49", 50, 85, None, "unknown", math.nan, "inf", 0]
    assert bands(ages, [30, 50, 80]) == [
        "<30", "30 to <50", "30 to <50", "50 to <80", ">=80",
        UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, "<30",
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"^edges must be rising numbers, got \[50, 30\]"):
        bands(ages, [50, 30])


def test_order_of_items_does_not_matter():
    truth, _, patient, site = lesions(1)
    order = np.random.default_rng(2).permutation(len(truth))

    def table(rows):
        def measure(chosen):
            return {"share": MetricValue(float(truth[rows][chosen].mean()), len(chosen))}

        return subgroup_table(site[rows], patient[rows], {"melanoma": truth[rows]}, measure)

    assert table(order) == table(np.arange(len(truth)))


@pytest.mark.plain
def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"^groups must be 2 groups, got 3"):
        subgroup_table(["a", "b"], np.arange(3), {}, lambda rows: {})
    with pytest.raises(UserError, match=r"^ill must be 2 values, got 1"):
        subgroup_table(["a", "b"], np.arange(2), {"ill": np.array([True])}, lambda rows: {})
