"""The report of a multi-label set: its own sections, and marks that mean a shared label."""

import json
import re
from itertools import product

import numpy as np
import pandas as pd
import pytest

from likeness.evaluation.resampling import Bootstrap
from likeness_apps.shell.measure import Answers
from likeness_apps.shell.measure_multilabel import measure
from likeness_apps.shell.report import ReportData
from likeness_apps.shell.report.cells import error_cards, overlap, sheet_groups
from likeness_apps.shell.report.html import render_report
from likeness_apps.shell.report.labels import together
from likeness_apps.shell.report.pictures import Pictures
from likeness_apps.shell.report.tables import all_figures, headlines, title_of
from likeness_apps.shell.results import predictions_table

LABELS = ["cars", "ship & sea", "trees", "water"]


@pytest.fixture(scope="module")
def answers():
    rng = np.random.default_rng(1)
    truth = (rng.random((40, 4)) < [0.5, 0.15, 0.5, 0.5]).astype(np.int64)
    truth[truth.sum(axis=1) == 0, 0] = 1
    scores = np.clip(0.3 + 0.4 * truth + rng.normal(scale=0.25, size=truth.shape), 0, 1)
    centres = rng.normal(size=(4, 8))
    return Answers(
        truth_N=truth,
        classes=LABELS,
        groups_N=np.arange(40),
        readouts={"sigmoid": (scores >= 0.5).astype(np.int64)},
        probabilities_NC=scores,
        embeddings_ND=truth @ centres + rng.normal(scale=0.8, size=(40, 8)),
    )


@pytest.fixture(scope="module")
def data(answers):
    measured = measure(answers, Bootstrap(replicates=50))
    rows = pd.DataFrame({"path": [f"{n}.png" for n in range(40)], "group": range(40)})
    return ReportData(
        title="Labels",
        app="remote-sensing",
        metrics=measured.metrics,
        predictions=predictions_table(rows, answers, measured, "0123"),
        embeddings_ND=answers.embeddings_ND,
    )


@pytest.fixture(scope="module")
def page(data):
    return render_report(data)


def names_of(answers):
    return [{name for name, has in zip(LABELS, row, strict=True) if has} for row in answers.truth_N]


def test_labels_have_sections_of_their_own(page):
    ids = set(re.findall(r'<section id="([^"]+)"', page))
    assert {"together", "labels", "wall", "sheets", "errors", "map", "calibration"} <= ids
    assert not {"confusion", "classes"} & ids
    assert "same class" not in page
    assert "the rarest of an image" in page
    assert "ship &amp; sea" in page


def test_the_label_table_holds_the_figures(page, data):
    body = re.search(r'id="labels".*?<tbody>(.*?)</tbody>', page, re.S)[1]
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.S)
    assert len(rows) == 4
    for row, record in zip(rows, data.metrics["per_class"], strict=True):
        assert f'<td class="r">{record["support"]}</td>' in row
        shown = [float(value) for value in re.findall(r'data-v="([^"]+)"', row)]
        keys = ("average_precision", "recall", "precision", "f1")
        assert shown == pytest.approx([record[key] for key in keys], abs=1e-6)


def test_pairs_of_labels_are_counted(data, answers):
    found, sets = together(data.items), names_of(answers)
    assert found.names == LABELS
    for (i, first), (j, second) in product(enumerate(LABELS), repeat=2):
        count = sum({first, second} <= names for names in sets)
        assert found.counts[i][j] == count
        assert found.shares[i][j] == pytest.approx(count / sum(first in names for names in sets))


def test_colour_follows_the_rarest_label(data, answers):
    frequency = {name: int(answers.truth_N[:, i].sum()) for i, name in enumerate(LABELS)}
    for row, names in enumerate(names_of(answers)):
        rarest = min(names, key=lambda name: (frequency[name], name))
        assert LABELS[data.items.class_of[row]] == rarest


def test_right_means_a_shared_label(data, answers):
    sets = names_of(answers)
    groups, _ = sheet_groups(data, Pictures(None), 0)
    lines = [line for group in groups for line in group.rows]
    assert lines
    for line in lines:
        own = sets[int(line.query.path.removesuffix(".png"))]
        for cell in line.hits:
            other = sets[int(cell.path.removesuffix(".png"))]
            assert cell.verdict == ("right" if own & other else "wrong")
            assert cell.shared == f"{len(own & other)} of {len(own | other)} labels"
        assert line.right == sum(cell.verdict == "right" for cell in line.hits)
    wrong = {cell.alt.split(":")[0] for line in lines for cell in line.hits}
    assert any("shares a label" in alt for alt in wrong)


def test_the_wall_carries_sets(page, answers):
    found = json.loads(re.search(r'id="wall-data">(.*?)</script>', page, re.S)[1])
    sets = names_of(answers)
    said = [set(np.array(LABELS)[row == 1]) for row in answers.readouts["sigmoid"]]
    for place, row in enumerate(found["row"]):
        assert {found["classes"][i] for i in found["sets"][place]} == sets[row]
        assert found["said"][place] == ", ".join(sorted(sets[row]))
        assert found["good"][place] == (sets[row] == said[row])
        assert found["called"][place] == (", ".join(sorted(said[row])) or "no label")


def test_the_worst_errors_come_first(data):
    cards = error_cards(data, Pictures(None))
    shares = [
        overlap(set(card.truth.split(", ")), set(card.label.split(", ")) - {"no label"})
        for card in cards.cards
    ]
    assert len(shares) == 12
    assert shares == sorted(shares)
    assert "fewest labels" in cards.order


def test_headlines_and_titles(data):
    chosen = headlines(all_figures(data.metrics))
    assert [item.key for item in chosen] == ["example_f1", "macro_ap", "wap@10", "macro_f1"]
    assert all(item.low and item.high for item in chosen)
    assert [title_of(key) for key in ("wap@10", "exact_recall@1", "map@r", "recall@5")] == [
        "WMAP@10",
        "Equal-label recall@1",
        "MAP@R",
        "Recall@5",
    ]
    sums = next(item for item in chosen if item.key == "wap@10")
    assert "%" not in sums.value
    assert not sums.bar


def test_calibration_pools_the_labels(page, answers):
    shown = re.search(r"ten equal-width bins of confidence, ([\d,]+) label decisions", page)
    assert int(shown[1]) == answers.truth_N.size
    ece = 0.0
    scores = answers.probabilities_NC.ravel().astype(np.float32)
    truth = answers.truth_N.ravel()
    for low in range(10):
        inside = np.minimum((scores * 10).astype(int), 9) == low
        if inside.any():
            ece += inside.mean() * abs(scores[inside].mean() - truth[inside].mean())
    printed = re.search(r'Expected calibration error</span><span class="mid">([\d.]+)', page)
    assert float(printed[1]) == pytest.approx(100 * ece, abs=0.06)


def test_no_label_said_and_no_truth_known(data):
    table = data.predictions.copy()
    table.loc[0, ["truth", "label"]] = ["", ""]
    table.loc[1, "label"] = ""
    found = ReportData(data.title, data.app, data.metrics, table, data.embeddings_ND)
    assert found.items.right[:2] == [None, False]
    assert found.items.labels[:2] == ["no label", "no label"]
    assert "39 with known labels" in render_report(found)
