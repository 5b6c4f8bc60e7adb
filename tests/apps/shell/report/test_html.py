"""The report: complete, safe, self-contained, repeatable, and true to its numbers."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fixtures.pages import Page, payload
from fixtures.reports import report_data
from likeness.errors import UserError
from likeness_apps.shell.report import write_report
from likeness_apps.shell.report.html import render_report
from likeness_apps.shell.report.tables import answered, figure, headlines, readouts, title_of

SECTIONS = {
    "measured", "readouts", "wall", "confusion", "classes", "sheets", "errors", "map",
    "calibration", "curves", "findings", "card", "provenance", "method",
}  # fmt: skip


def test_page_parses_with_every_section_and_unique_ids(page):
    parsed = Page(page)
    assert parsed.ids("section") == SECTIONS
    ids = [attrs["id"] for _, attrs in parsed.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    anchors = {attrs["href"][1:] for attrs in parsed.all("a") if attrs["href"].startswith("#")}
    assert anchors <= set(ids)
    assert all(attrs.get("alt") is not None for attrs in parsed.all("img"))
    assert all("aria-label" in attrs for attrs in parsed.all("svg") if attrs.get("role") == "img")
    assert all("scope" in attrs for attrs in parsed.all("th"))


def test_page_loads_nothing_and_its_policy_lets_only_its_own_blocks_in(page):
    parsed = Page(page)
    for tag, attrs in parsed.elements:
        assert not any(name.startswith("on") or name == "style" for name in attrs)
        for name in ("src", "srcset", "poster", "data", "action", "xlink:href"):
            assert (
                attrs.get(name, "data:").startswith("data:image/webp;base64,") or name not in attrs
            )
        if "href" in attrs and tag != "a":
            assert attrs["href"].startswith("#")
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
    style = re.search(r"<style>(.*?)</style>", page, re.S)[1]
    script = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(script) == 1
    assert "@import" not in style
    assert "url(" not in style
    assert not re.search(r"https?:|fetch|XMLHttp|WebSocket|sendBeacon", style + script[0])
    policy = next(a["content"] for a in parsed.all("meta") if "http-equiv" in a)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind, text in (("style-src", style), ("script-src", script[0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[kind] == f"'sha256-{digest}'"


EVIL = [
    "<script>alert(1)</script>",
    "\" onmouseover='x()' ",
    "</script><b>",
    "{{ 7 * 7 }}",
    "& é 木",
]


def test_everything_a_user_supplies_is_escaped():
    evil = report_data(
        classes=5,
        per_class=8,
        names=EVIL,
        title=EVIL[0],
        app=EVIL[1],
        thumbnail=None,
        provenance={EVIL[0]: {EVIL[1]: EVIL[2]}},
        card="\n".join([f"# {EVIL[0]}", EVIL[1], f"`{EVIL[2]}`", f"- {EVIL[0]}", f"|{EVIL[0]}|"])
        + "\n|---|\n|<img src=x onerror=y>|\n[x](javascript:alert(1)) ![i](http://x/y.png)\n",
    )
    metrics = dict(evil.metrics)
    metrics["protocol"] = metrics["split"] = EVIL[0]
    metrics["retrieval"] = {EVIL[0]: {"value": 0.5, "count": 3, "skipped": {EVIL[2]: 1}}}
    metrics["readouts"] = {EVIL[0]: {EVIL[1]: 0.5}}
    metrics["interval"] = {"method": EVIL[0], "label": EVIL[2], "level": 0.95}
    findings = pd.DataFrame(
        [dict.fromkeys(("level", "code", "path", "message", "advice"), EVIL[0])]
    )
    epochs = pd.DataFrame({"epoch": [1], "train_loss": [1.0], f"val_{EVIL[0]}": [0.3]})
    table = evil.predictions.assign(path=[f"{EVIL[i % 5]}_{i}" for i in range(40)])
    evil = replace(evil, metrics=metrics, findings=findings, epochs=epochs, predictions=table)
    text = render_report(evil, include_images=True)
    parsed = Page(text)
    assert parsed.ids("section") == SECTIONS
    assert len(parsed.all("script")) == 2
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert all(not name.startswith("on") for _, attrs in parsed.elements for name in attrs)
    assert all(not a["href"].startswith("javascript") for a in parsed.all("a"))
    assert not parsed.all("img")
    assert "49" not in parsed.texts["h1"]
    assert payload(text)["classes"] == EVIL
    assert EVIL[0] in " ".join(parsed.texts["h1"])


@pytest.mark.parametrize(
    ("changes", "gone", "said"),
    [
        ({"epochs": None}, {"curves"}, "no epochs.csv"),
        ({"epochs": pd.DataFrame({"epoch": []})}, {"curves"}, "no finished epoch"),
        ({"findings": None}, {"findings"}, "no findings.csv"),
        ({"card": " "}, {"card"}, "no card"),
        ({"embeddings_ND": None}, {"wall", "sheets", "map"}, "embeddings"),
    ],
)
def test_a_missing_part_leaves_its_section_out_and_says_why(data, changes, gone, said):
    parsed = Page(render_report(replace(data, **changes)))
    assert SECTIONS - parsed.ids("section") == gone
    assert said in " ".join(parsed.texts["li"])


def test_bare_metrics_and_no_probabilities_still_make_a_page(data):
    table = data.predictions[["path", "status", "label"]]
    parsed = Page(render_report(replace(data, metrics={}, predictions=table, provenance={})))
    gone = {"readouts", "confusion", "classes", "sheets", "errors", "calibration", "provenance"}
    assert SECTIONS - parsed.ids("section") == gone | {"method"}


def test_unreadable_rows_are_counted_with_their_reasons(data):
    bad = pd.DataFrame(
        {
            "path": ["a", "b", "c"],
            "status": "failed",
            "reason": ["cut short", "cut short", "no RGB"],
        }
    )
    table = pd.concat([bad.iloc[:2], data.predictions, bad.iloc[2:]], ignore_index=True)
    page = render_report(replace(data, predictions=table))
    facts = dict(re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)", page))
    assert facts["Images given"] == "57"
    assert facts["Read and counted"] == "54"
    why = re.findall(r'<dd>(\d+)<span class="why">([^<]*)', page)
    assert why == [("2", "cut short"), ("1", "no RGB")]
    assert "3 more could not be used" in page


def test_all_rows_unreadable(data):
    table = pd.DataFrame({"path": ["a"], "status": "failed", "reason": "gone", "label": ""})
    none = replace(
        data, predictions=table, embeddings_ND=np.empty((0, 4)), metrics={}, training=None
    )
    parsed = Page(render_report(none, include_images=True))
    assert "wall" not in parsed.ids("section")
    assert "gone" in parsed.text


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_items(data, count):
    table = data.predictions.iloc[:count]
    few = replace(data, predictions=table, embeddings_ND=data.embeddings_ND[:count])
    parsed = Page(render_report(few))
    assert ("wall" in parsed.ids("section")) == (count >= 2)
    assert ("map" in parsed.ids("section")) == (count >= 3)


def test_a_model_without_errors_says_so(data):
    table = data.predictions.assign(label=data.predictions["truth"])
    parsed = Page(render_report(replace(data, predictions=table)))
    assert "errors" not in parsed.ids("section")
    assert "no image was called anything but its class" in parsed.text


def test_the_same_input_gives_the_same_bytes(data, tmp_path):
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, data, include_images=True)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    other = render_report(data, include_images=True, max_tiles=20, seed=1)
    assert other != render_report(data, include_images=True, max_tiles=20, seed=2)


def test_headlines_and_intervals_are_printed(data, page):
    text = Page(page).text
    accuracy = data.metrics["classification"]["overall_accuracy"]
    shown = [f"{100 * accuracy[name]:.1f}" for name in ("value", "low", "high")]
    assert all(item in text for item in shown)
    assert "evaluation noise only" in text
    assert "2 no true match" in text
    assert "undefined" in text


def test_headlines_prefer_known_figures_and_skip_undefined_ones():
    entries = {"zeta": 0.1, "map@r": 0.5, "overall_accuracy": None, "recall@1": {"value": 0.25}}
    chosen = headlines([figure(key, value) for key, value in entries.items()])
    assert [item.key for item in chosen] == ["map@r", "recall@1"]
    assert [item.value for item in chosen] == ["50.0 %", "25.0 %"]
    assert title_of("recall_at_5") == title_of("recall@5") == "Recall@5"
    assert figure("kappa", 0.71234).value == "0.712"
    assert figure("x", float("nan")).value == "undefined"


def test_what_was_unusual_in_the_answers_is_said():
    ensemble = {"members": ["a", "b", "c"]}
    rows = answered({"tta": "flips", "ensemble": ensemble, "scope": {"refused": 2, "share": 0.04}})
    assert [text for _, text in rows] == [
        "3 models, mean of their probabilities",
        "flips",
        "2 images (4.0 %); they are measured all the same",
    ]
    assert answered({"tta": "one"}) == []


def test_own_headlines_stand_first_and_a_notice_on_top(data):
    own = replace(figure("overall_accuracy", 0.5), name="Mine")
    text = render_report(replace(data, headlines=[own], notice="Take <care>."))
    names = re.findall(r'<p class="label">([^<]*)</p>', text)
    assert names == ["Mine", "Average accuracy", "Macro F1", "MAP@R"]
    assert text.index("Take &lt;care&gt;.") < text.index("<h1>")


def test_readouts_keep_a_hole_where_one_lacks_a_figure():
    names, rows = readouts({"readouts": {"softmax": {"a": 0.5, "b": 0.2}, "knn": {"a": 0.4}}})
    assert names == ["Softmax", "k-NN"]
    assert [[cell and cell.value for cell in row.cells] for row in rows] == [
        ["50.0 %", "40.0 %"],
        ["20.0 %", None],
    ]


def test_the_confusion_table_holds_the_counts(data, page):
    table = re.search(r'<table class="cm.*?</table>', page, re.S)[0]
    body = re.findall(r"<tr>(.*?)</tr>", table.split("<tbody>")[1], re.S)
    for row, counts in zip(body, data.metrics["confusion"]["counts"], strict=True):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", row, re.S)
        read = [int(m[1]) if (m := re.search(r"<i>(\d+)</i>", cell)) else 0 for cell in cells[:-1]]
        assert read == counts
        assert int(cells[-1]) == sum(counts)


def test_what_does_not_fit_is_refused(data):
    with pytest.raises(UserError, match="embeddings must be an array of 54 rows"):
        replace(data, embeddings_ND=data.embeddings_ND[:5])
    with pytest.raises(UserError, match="predictions must be a table with path, status and label"):
        replace(data, predictions=pd.DataFrame({"path": ["a"]}))
    with pytest.raises(UserError, match="neighbours must be two equal arrays"):
        replace(data, neighbours=(np.zeros((54, 2), int), np.zeros((54, 3))))


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_a_tile_in_the_address_lights_up_its_neighbours(page, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(page, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    flags += ["--disable-quic", "--disable-background-networking", "--virtual-time-budget=2000"]
    flags += ["--disable-component-update"]
    command = ["chromium", *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    address = file.as_uri() + "#tile=12&theme=dark"
    done = subprocess.run([*command, address], capture_output=True, timeout=120, check=True)
    tiles = [a for a in Page(done.stdout.decode()).all("button") if "tile" in a.get("class", "")]
    chosen = [int(a["data-n"]) for a in tiles if "sel" in a["class"].split()]
    lit = {int(a["data-n"]) for a in tiles if "near" in a["class"].split()}
    assert chosen == [12]
    assert lit == set(payload(page)["near"][12])
