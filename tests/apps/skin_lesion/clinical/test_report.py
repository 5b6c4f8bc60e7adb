"""The clinical sections: every figure on the page, a reason for every gap, and nothing else."""

from __future__ import annotations

import copy
import json
import re
from html import unescape

import numpy as np
import pytest

from fixtures.clinical_reports import (
    HAM,
    SIMILAR,
    clinical_metrics,
    clinical_report_data,
    lesion_answers,
)
from fixtures.pages import Page
from likeness.files import finite
from likeness_apps.shell.report.html import render_report
from likeness_apps.skin_lesion.clinical.measures import Clinical
from likeness_apps.skin_lesion.clinical.report import SECTIONS, headlines
from likeness_apps.skin_lesion.clinical.report.charts import roc_chart
from likeness_apps.skin_lesion.clinical.report.checklist import ITEMS

ANCHORS = {name for name, _, _ in SECTIONS}
ALWAYS = {"research-only", "checklist"}


@pytest.fixture(scope="module")
def clinical():
    return clinical_metrics()


@pytest.fixture(scope="module")
def page(clinical):
    return page_of(clinical)


def page_of(clinical, **changes):
    """The page without its pictures of embeddings, which take longest and are tested elsewhere."""
    return render_report(clinical_report_data(clinical, embeddings_ND=None, **changes))


def section(page, anchor):
    return re.search(rf'<section id="{anchor}".*?</section>', page, re.S)[0]


def text_of(html):
    """What a reader sees, tags as spaces."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html)))


def rows_of(html):
    """The cells of every row of every table, as texts."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", html, re.S)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in rows]
    return [[text_of(cell).strip() for cell in row] for row in cells]


def parts_of(html):
    """The text from one sub-heading to the next, by the heading."""
    _, *parts = re.split(r"<h3>(.*?)</h3>", html)
    return dict(zip([name.lower() for name in parts[::2]], parts[1::2], strict=True))


def left_out(page):
    items = re.findall(r"<li><b>(.*?):</b> (.*?)</li>", section(page, "left-out"), re.S)
    return {unescape(title): unescape(why) for title, why in items}


def test_every_section_is_there_and_the_page_is_sound(page):
    parsed = Page(page)
    assert parsed.ids("section") >= ANCHORS
    ids = [attrs["id"] for _, attrs in parsed.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    anchors = {attrs["href"][1:] for attrs in parsed.all("a") if attrs["href"].startswith("#")}
    assert anchors <= set(ids)
    assert all("aria-label" in attrs for attrs in parsed.all("svg") if attrs.get("role") == "img")
    assert all("scope" in attrs for attrs in parsed.all("th"))
    assert "None" not in parsed.text
    assert not re.search(r"\bnan\b", parsed.text)


def test_nothing_is_loaded_from_outside(page):
    for tag, attrs in Page(page).elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form", "img"}
        assert not {"src", "srcset", "style", "xlink:href", "data", "action"} & set(attrs)
        assert not any(name.startswith("on") for name in attrs)
        assert attrs.get("href", "#").startswith("#") or "example.org" in attrs["href"]
    assert "url(" not in page


def test_the_first_screen_says_what_this_is_not_and_shows_the_tasks(page, clinical):
    top = re.search(r'<header class="mast">.*?</header>', page, re.S)[0]
    assert "Research only, not a medical device" in text_of(top)
    names = re.findall(r'<p class="label">(.*?)</p>', top)
    assert names[:3] == ["Malignant: ROC-AUC", "Melanoma: ROC-AUC", "Balanced accuracy"]
    assert names[3] == "Overall accuracy"  # balanced accuracy is not there twice
    for task in clinical["tasks"].values():
        area = task["discrimination"]["roc_auc"]
        assert f"{area['value']:.3f}" in text_of(top)
        assert f"{area['low']:.3f} to {area['high']:.3f}" in text_of(top)


def test_research_only_states_skin_types_and_prevalence(page, clinical):
    said = text_of(section(page, "research-only"))
    assert clinical["disclaimer"] in said
    assert "No claim for Fitzpatrick skin types V and VI" in said
    for task in clinical["tasks"].values():
        total = task["positives"] + task["negatives"]
        assert f"{task['positives']} of {total} images ({100 * task['prevalence']:.1f} %)" in said


def test_images_that_predict_would_refuse_are_told(clinical):
    metrics = clinical_report_data(clinical).metrics
    scope = {"refused": 7, "share": 7 / 320, "threshold": 1.0}
    page = page_of(clinical, metrics={**metrics, "scope": scope})
    assert "7 of 320 images look unlike" in text_of(section(page, "research-only"))
    assert "7 images (2.2 %)" in text_of(section(page, "measured"))
    assert "look unlike" not in text_of(section(page_of(clinical), "research-only"))


def test_discrimination_shows_every_figure_with_its_ends(page, clinical):
    parts = parts_of(section(page, "discrimination"))
    assert set(parts) == set(clinical["tasks"])
    for name, task in clinical["tasks"].items():
        rows = rows_of(parts[name])
        shown = {(row[1], row[2]) for row in rows if len(row) == 6}
        for record in (*task["discrimination"].values(), delong_of(task)):
            ends = f"{record['low']:.3f} to {record['high']:.3f}"
            assert (f"{record['value']:.3f}", ends) in shown
        skill = {row[0].split("above")[0]: row[3:5] for row in rows if len(row) == 6}
        assert skill["Partial area "] == ["0.020", "0.200"]
        assert ["0.180", "1.000"] in skill.values()
        assert [f"{task['prevalence']:.3f}", "1.000"] in skill.values()


def delong_of(task):
    return {**task["auc_delong"], "value": task["auc_delong"]["auc"]}


def test_balanced_accuracy_over_the_classes_is_shown(page, clinical):
    record = clinical["balanced_accuracy_classes"]
    said = text_of(section(page, "discrimination"))
    assert f"over 7 classes (mean recall of the most probable class): {record['value']:.3f}" in said
    assert f"{record['low']:.3f} to {record['high']:.3f}" in said


def test_operating_points_show_counts_beside_every_rate(page, clinical):
    parts = parts_of(section(page, "operating"))
    for name, task in clinical["tasks"].items():
        rows = [row for row in rows_of(parts[name]) if row[0].isdigit()]
        points = [*task["operating"], task["default_operating"]]
        assert [row[0] for row in rows] == [str(i + 1) for i in range(len(points))]
        for row, point in zip(rows, points, strict=True):
            validation = point["validation"] or dict.fromkeys(("tp", "fp", "tn", "fn"), "–")
            order = ("tp", "fp", "tn", "fn")
            assert row[3:7] == [str(validation[kind]) for kind in order]
            assert row[7:11] == [str(point["counts"][kind]) for kind in order]
            for cell, rate in zip(row[11:13], ("sensitivity", "specificity"), strict=True):
                assert cell == rate_text(point[rate])
            assert row[13] == f"{100 * point['balanced_accuracy']:.1f} %"
            assert row[14] == f"{point['f1']:.3f}"


def rate_text(rate):
    ends = [f"{100 * rate[end]:.1f} %" for end in ("low", "high", "group_low", "group_high")]
    return (
        f"{100 * rate['value']:.1f} % {rate['hits']} of {rate['total']} "
        f"Wilson {ends[0]} to {ends[1]} groups {ends[2]} to {ends[3]}"
    )


def test_the_point_at_90_percent_is_told_in_whole_images(page, clinical):
    said = text_of(section(page, "operating"))
    for task in clinical["tasks"].values():
        counts = task["operating"][1]["counts"]
        assert (task["operating"][1]["fixed"], task["operating"][1]["aim"]) == ("sensitivity", 0.9)
        assert f"found {counts['tp']} of {task['positives']} here and missed {counts['fn']}" in said
        assert f"called {counts['fp']} of {task['negatives']} others positive" in said


def test_calibration_shows_scores_bins_and_classes(page, clinical):
    body = section(page, "clinical-calibration")
    parts = parts_of(body)
    for name, task in clinical["tasks"].items():
        rows = rows_of(parts[name])
        for record in task["calibration"].values():
            ends = f"{record['low']:.3f} to {record['high']:.3f}"
            assert [f"{record['value']:.3f}", ends] in [row[1:3] for row in rows]
        table = task["reliability"]
        full = [place for place, count in enumerate(table["count"]) if count]
        for place in full:
            assert [str(table["count"][place]), *bin_text(table, place)] in rows
        assert parts[name].count('<circle class="s0"') == len(full)
        for number, at in enumerate((0.01, 0.99)):
            record = {key: task["decision"][key][-number] for key in ("model", "treat_all")}
            ends = [f"{value:.3f}".replace("-", "−") for value in (at, *record.values())]
            assert ends in [row[:3] for row in rows]
    per_class = clinical["classwise_ece"]["per_class"]
    assert [[name, f"{value:.3f}"] for name, value in per_class.items()] == rows_of(body)[-7:]
    assert f"{clinical['classwise_ece']['mean']:.3f}" in text_of(body)


def bin_text(table, place):
    names = ("mean_probability", "observed", "low_band", "high_band")
    values = [table[name][place] for name in names]
    return ["–" if np.isnan(value) else f"{100 * value:.1f} %" for value in values]


def test_abstention_shows_its_areas_and_its_end(page, clinical):
    record = clinical["abstention"]
    said = text_of(section(page, "abstention"))
    for value in (record["area"], record["best_area"]):
        assert f"{value:.3f}" in said
    assert f"{100 * record['risk'][-1]:.1f} %" in said


def test_subgroups_show_every_level_its_counts_and_figures_or_the_reason(page, clinical):
    parts = parts_of(section(page, "subgroups"))
    assert set(parts) == {"by sex", "by age", "by site"}
    reasons = 0
    for column, levels in clinical["subgroups"].items():
        rows = [row for row in rows_of(parts[f"by {column}"]) if len(row) > 1][1:]
        assert [row[0] for row in rows] == [level["level"] for level in levels]
        for row, level in zip(rows, levels, strict=True):
            counts = [level["items"], level["groups"], *level["counts"].values()]
            assert row[1:5] == [str(count) for count in counts]
            if level["reason"]:
                assert row[5:] == [level["reason"]]
                reasons += 1
            else:
                area = level["values"]["roc_auc"]
                ends = f"{area['low']:.3f} to {area['high']:.3f}"
                assert row[5] == f"{area['value']:.3f} {ends}"
                assert row[6].startswith(f"{100 * level['values']['sensitivity']['value']:.1f} %")
    assert reasons
    assert "unknown" in text_of(parts["by sex"])
    assert "Not given by the data: skin type" in text_of(section(page, "subgroups"))


def test_official_figures_stand_beside_the_corrected_ones(page, clinical):
    body, isic = section(page, "official"), clinical["isic"]
    by_class = dict(re.findall(r"<details><summary>(\w+)</summary>(.*?)</details>", body, re.S))
    assert set(by_class) == set(HAM)
    by_class[""] = body.split("<details>")[0]
    for name, html in by_class.items():
        official = isic["per_class"][name] if name else isic["macro_average"]
        corrected = isic["corrected_per_class"][name] if name else isic["corrected_macro_average"]
        rows = {row[0]: row[1:] for row in rows_of(html)}
        pairs = [official["ppv"], corrected["ppv_or_nan"], corrected["ppv_argmax"]]
        assert rows["Positive predictive value"] == [official_text(value) for value in pairs]
        shown = {cell for row in rows.values() for cell in row}
        values = {**official, **corrected}
        values.pop("positives")
        assert {official_text(value) for value in values.values()} <= shown
    for remark in isic["remarks"]:
        assert remark in text_of(body)
    assert f"{isic['balanced_accuracy']:.3f}" in text_of(body)


def official_text(value):
    return "undefined" if np.isnan(value) else f"{value:.3f}"


def test_similar_cases_show_agreement_and_who_had_none(page):
    body = section(page, "similar")
    rows = [row[1] for row in rows_of(body)]
    for record in (*SIMILAR["agreement"].values(), *SIMILAR["knn_auc"].values()):
        assert f"{record['value']:.3f}" in rows
    said = text_of(body)
    for words in ("5 nearest of 1,234 training lesions (2,345 images)", "1 no case", "43.2"):
        assert words in said
    assert "Without any case 1 " in said


def test_the_page_is_the_same_when_the_figures_come_from_the_file(clinical):
    data = clinical_report_data(clinical, embeddings_ND=None)
    written = json.loads(json.dumps(finite(clinical)))
    saved = clinical_report_data(written, embeddings_ND=None)
    assert render_report(saved) == render_report(data)


@pytest.mark.parametrize(
    ("key", "value", "gone", "said"),
    [
        ("isic", {"reason": "The classes are of no challenge."}, "official", "of no challenge"),
        (
            "similar",
            {"reason": "model keeps no embeddings"},
            "similar",
            "model keeps no embeddings",
        ),
        ("similar", None, "similar", "measured by evaluate"),
        ("abstention", None, "abstention", "measured by evaluate"),
        ("subgroups", {}, "subgroups", "no column for skin type"),
    ],
)
def test_an_absent_part_gives_its_reason(clinical, key, value, gone, said):
    page = page_of(clinical | {key: value})
    parsed = Page(page)
    assert ANCHORS - parsed.ids("section") == {gone}
    title = next(title for name, title, _ in SECTIONS if name == gone)
    assert said in left_out(page)[title]
    assert f'href="#{gone}"' not in page


def test_while_training_only_what_is_known_is_shown():
    recorded = Clinical().recorded(*lesion_answers(60))
    page = page_of(recorded)
    assert ANCHORS & Page(page).ids("section") == ALWAYS
    assert "measured by evaluate" in left_out(page)["Operating points"]


@pytest.mark.parametrize("clinical", [{}, {"tasks": {}, "reason": "no probabilities"}])
def test_without_figures_the_page_still_says_research_only(clinical):
    page = page_of(clinical)
    assert ANCHORS & Page(page).ids("section") == ALWAYS
    assert "not a medical device" in text_of(section(page, "research-only"))
    assert left_out(page)["Discrimination"] == clinical.get("reason", left_out(page)["Abstention"])


def test_without_recorded_thresholds_only_a_half_is_shown_and_why(clinical):
    bare = copy.deepcopy(clinical)
    task = bare["tasks"]["melanoma"]
    task["operating"], task["operating_reason"] = [], "The record holds no thresholds."
    body = parts_of(section(page_of(bare), "operating"))["melanoma"]
    assert [row[2] for row in rows_of(body) if row[0].isdigit()] == ["0.5"]
    assert "The record holds no thresholds." in text_of(body)
    assert "come from" not in text_of(body)


def test_a_split_without_melanomas_is_shown_as_undefined():
    benign = clinical_metrics(classes=("mel", "nv"), shares=(1e-9, 1))
    page = page_of(benign)
    body = text_of(section(page, "discrimination"))
    assert "undefined" in body
    assert "No ROC curve" in body
    assert "No decision curve" in text_of(section(page, "clinical-calibration"))
    assert "validation split holds no positive" in text_of(section(page, "operating"))


def test_the_roc_chart_marks_the_points_where_they_came_out(clinical):
    task = clinical["tasks"]["melanoma"]
    svg = str(roc_chart("melanoma", task["roc"], task["operating"]))
    dots = re.findall(r'<circle class="mark" cx="([\d.]+)" cy="([\d.]+)"', svg)
    assert len(dots) == len(task["operating"])
    left, wide, bottom, tall = 52, 400 - 52 - 14, 400 - 44, 400 - 44 - 12
    for (x, y), point in zip(dots, task["operating"], strict=True):
        assert (float(x) - left) / wide == pytest.approx(
            1 - point["specificity"]["value"], abs=1e-3
        )
        assert (bottom - float(y)) / tall == pytest.approx(point["sensitivity"]["value"], abs=1e-3)


def test_the_checklist_answers_from_the_record_or_says_what_is_missing(clinical):
    rows = {row[0].rstrip("* "): row[1] for row in checklist(page_of(clinical))}
    assert "2 levels; unknown for 64 of 320 images" in rows["Sex"]
    assert rows["Skin tone"].startswith("not stated: ")
    assert rows["Camera"].startswith("not stated: ")
    assert "CC BY-NC 4.0" in rows["Consent and licence"]
    assert "160 groups" in rows["Patients or lesions kept apart in the splits"]
    assert rows["External test"].startswith("not stated: ")
    assert rows["Intended use"] == "stated in the model card"
    edited = {row[0].rstrip("* "): row[1] for row in checklist(page_of(clinical, card="# Mine"))}
    assert edited["Intended use"].startswith("not stated: ")
    assert edited["Image artefacts"].startswith("not stated: ")


def checklist(page):
    return [row for row in rows_of(section(page, "checklist")) if len(row) == 3]


def test_findings_of_leaks_are_told_in_the_checklist(clinical):
    data = clinical_report_data(clinical, embeddings_ND=None)
    findings = data.findings.assign(code=["near-duplicate-across-splits", "unreadable"])
    rows = checklist(page_of(clinical, findings=findings))
    answers = {row[0].rstrip("* "): row[1] for row in rows}
    kept = "Patients or lesions kept apart in the splits"
    assert "1 near-duplicate-across-splits" in answers[kept]


def test_only_items_read_in_the_statements_go_without_a_star(page):
    known = {"Image type", "Image artefacts", "Camera", "Standardised or not", "Lighting"}
    known.add("Fairness: performance in groups of people")
    bare = {row[0] for row in checklist(page)[1:] if not row[0].endswith("*")}
    assert bare == known
    assert {item.name for item in ITEMS if item.confirmed} == known
    assert "item wording to be checked in the statement" in text_of(section(page, "checklist"))


EVIL = ("<script>alert(1)</script>", "\" onmouseover='x()' ", "{{ 7 * 7 }}</details>")


def with_evil(value):
    """The same record with names that are none."""
    swap = {"melanoma": EVIL[0], "mel": EVIL[1], "back": EVIL[2], "sex": EVIL[1]}
    if isinstance(value, dict):
        return {swap.get(key, key): with_evil(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_evil(item) for item in value]
    return swap.get(value, value) if isinstance(value, str) else value


def test_hostile_names_are_escaped(clinical):
    evil = with_evil(clinical)
    evil["disclaimer"] = evil["isic"]["remarks"][0] = EVIL[0]
    evil["tasks"]["malignant"]["operating_reason"] = EVIL[2]
    page = page_of(evil, headlines=headlines(evil), notice=EVIL[0])
    parsed = Page(page)
    assert parsed.ids("section") >= ANCHORS
    assert len(parsed.all("script")) == len(Page(page_of(clinical)).all("script"))
    assert "<script>alert" not in page
    assert all(not name.startswith("on") for _, attrs in parsed.elements for name in attrs)
    assert "{{ 7 * 7 }}" in text_of(section(page, "subgroups"))
