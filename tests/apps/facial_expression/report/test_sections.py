"""The sections of displayed expressions: what the figures say stands on the page, or why not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fixtures.pages import Page
from fixtures.reports import report_data
from likeness.evaluation.resampling import Bootstrap
from likeness_apps.facial_expression.expressions import EXPRESSIONS
from likeness_apps.facial_expression.measures.expression import Expression
from likeness_apps.facial_expression.report.sections import SECTIONS, gathered
from likeness_apps.facial_expression.votes import ANSWERS, COLUMNS
from likeness_apps.shell.coverage import coverage
from likeness_apps.shell.measure import Answers
from likeness_apps.shell.report.html import render_report
from likeness_apps.shell.report.pictures import Pictures
from likeness_apps.shell.report.sections import Build

CLASSES = sorted(EXPRESSIONS)
PER_CLASS = 12


def base(**changes):
    return report_data(classes=8, per_class=PER_CLASS, names=CLASSES, spread=0.5, **changes)


def figures(data, *, voted=True, subjects=True):
    """`Expression.scored` of the answers of a report, with made-up votes and subjects."""
    table = data.predictions
    truth = np.array([CLASSES.index(name) for name in table["truth"]])
    said = np.array([CLASSES.index(name) for name in table["label"]])
    chances = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    groups = np.arange(len(truth)) // 4
    rows = table[["path"]].assign(subject=[f"Zora{one}" if subjects else "" for one in groups])
    if voted:
        draw = np.random.default_rng(0)
        shares = np.full((len(truth), len(ANSWERS)), 0.04)
        shares[np.arange(len(truth)), [EXPRESSIONS.index(CLASSES[one]) for one in truth]] = 0.64
        votes = np.array([draw.multinomial(10, row) for row in shares])
        rows = rows.assign(**dict(zip(COLUMNS, votes.T, strict=True)))
    answers = Answers(truth, CLASSES, groups.astype(str), {"softmax": said}, chances)
    found = Expression(Bootstrap(replicates=40)).scored(answers, rows)
    return found.metrics | {"copies": {"reason": "Nobody looked."}}


def subclassed(table):
    """The column that `measured` adds: two sub-classes of anger; one face lies with fear."""
    names = [f"{name}/1" for name in table["truth"]]
    for row in np.flatnonzero(table["truth"] == "anger")[::2]:
        names[row] = "anger/3"
    names[0] = "fear/1"
    return table.assign(subclass=names)


def page_of(data, expression, *, pictures=True, **metrics):
    changed = {**data.metrics, "expression": expression, **metrics}
    shown = type(data)(**{**vars(data), "metrics": changed, "own_sections": SECTIONS})
    text = render_report(shown, include_images=pictures)
    return Page(text), text


@pytest.fixture(scope="module")
def whole():
    data = base()
    with_variants = type(data)(**{**vars(data), "predictions": subclassed(data.predictions)})
    return page_of(with_variants, figures(data))


def test_every_section_is_there(whole):
    page, _ = whole
    assert page.ids("section") >= {
        "meaning", "human", "votes", "planes", "subclasses", "subjects"
    }  # fmt: skip
    assert "never what a person feels" in page.text
    assert "Barrett" in page.text
    assert "Art. 5" in page.text


def test_human_agreement_stands_beside_the_model(whole):
    page, _ = whole
    human = figures(base())["human"]
    for side in ("model", "human"):
        for name in ("overall_accuracy", "average_accuracy", "macro_f1"):
            assert f"{100 * human[side][name]['value']:.1f} %" in page.text
    less = 100 * human["difference"]["overall_accuracy"]["value"]
    assert f"{less:+.1f}".replace("-", "−") in page.text
    assert "Subjects are drawn" in page.text


def test_figures_of_the_votes_are_in_nats(whole):
    page, _ = whole
    votes = figures(base())["votes"]
    assert f"{votes['kl']['value']:.3f}".rstrip("0") in page.text
    assert "By the rules of FER+'s authors: majority" in page.text
    assert f"{votes['official']['majority']['left_out']} are left out" in page.text


def test_subjects_are_not_named(whole):
    page, text = whole
    found = figures(base())["by_subject"]
    assert f"{100 * found['worst']['accuracy']:.1f} %" in page.text
    assert "Zora" not in text


def test_sub_classes_are_of_their_own_class():
    data = base()
    table = subclassed(data.predictions)
    given = type(data)(**{**vars(data), "predictions": table})
    faces = gathered(Build(given, [], None, Pictures(None), None, 0))
    assert faces.names == sorted({*table["subclass"]})
    assert faces.subclass_N[0] == -1  # it is anger and lies with fear
    anger = CLASSES.index("anger")
    assert faces.subclasses_of == {
        anger: [faces.names.index("anger/1"), faces.names.index("anger/3")]
    }
    assert (faces.class_N == [CLASSES.index(name) for name in table["truth"]]).all()


def test_faces_stand_at_means_and_in_rows(whole):
    page, text = whole
    assert text.count("<image") == 8 + 2
    assert "anger/3" in page.text
    assert "Look before you name anything" in page.text


def test_no_face_without_permission():
    data = base()
    given = type(data)(**{**vars(data), "predictions": subclassed(data.predictions)})
    page, text = page_of(given, figures(data), pictures=False)
    assert "data:image" not in text
    assert text.count("<ellipse") == 8 + 2 + 2
    assert "faces are only put in with --include-images." in page.text


def test_what_is_not_there_says_why():
    """A training run of a set without votes and subjects, by a model without sub-classes."""
    data = base()
    bare = figures(data, voted=False, subjects=False)
    page, _ = page_of(data, bare)
    for reason in (
        bare["votes"]["reason"],
        bare["human"]["reason"],
        bare["by_subject"]["reason"],
        "the model has no sub-classes",
        "Nobody looked.",
        "nothing had to be found",
    ):
        assert reason in page.text
    assert "Without that it stays open how well a person would do." in page.text
    empty, _ = page_of(data, {})
    assert "metrics.json holds no figures of displayed expressions." in empty.text


def test_coverage_shows_both_figures():
    data = base()
    lost = pd.DataFrame(
        {"path": ["a", "b"], "status": "no_face", "truth": "fear", "label": "", "group": "x"}
    )
    table = pd.concat([data.predictions.assign(group="x"), lost], ignore_index=True)
    found = coverage(table, CLASSES, Bootstrap(replicates=20))
    page, _ = page_of(data, figures(data), coverage=found)
    right = (data.predictions["truth"] == data.predictions["label"]).sum()
    assert f"{100 * right / (8 * PER_CLASS):.1f} %" in page.text
    assert f"{100 * right / (8 * PER_CLASS + 2):.1f} %" in page.text
    assert "2 no face" in page.text


def test_classes_without_a_picture_are_told():
    data = base()
    kept = data.predictions["truth"] != "contempt"
    some = type(data)(
        **{
            **vars(data),
            "predictions": data.predictions[kept].reset_index(drop=True),
            "embeddings_ND": data.embeddings_ND[kept],
        }
    )
    page, _ = page_of(some, figures(some))
    assert "contempt:" in page.text
    assert "If only the other classes could be answered" in page.text


def test_copies_are_apart():
    side = {"pictures": 7, "overall_accuracy": {"value": 0.9, "count": 7, "low": 0.8, "high": 1.0}}
    found = {"means": "byte-equal files only", "training_pictures": 0, "with": side}
    data = base()
    page, _ = page_of(data, figures(data) | {"copies": found})
    assert "byte-equal files only" in page.text
    assert "80.0 to 100.0" in page.text
