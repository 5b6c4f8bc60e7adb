"""The report: complete, safe, self-contained, repeatable, and true to its numbers."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest

from fixtures.reports import draw_scene, report_data
from likeness.errors import UserError
from likeness_apps.shell.report import ReportData, write_report
from likeness_apps.shell.report.cells import sheet_groups
from likeness_apps.shell.report.colours import class_colours
from likeness_apps.shell.report.data import balanced_sample
from likeness_apps.shell.report.figures import calibration_bins, ticks, wilson
from likeness_apps.shell.report.html import render_report
from likeness_apps.shell.report.markdown import render_markdown
from likeness_apps.shell.report.pictures import Pictures, data_uri
from likeness_apps.shell.report.projection import project
from likeness_apps.shell.report.tables import figure, headlines, readouts, title_of
from likeness_apps.shell.report.wall import build_wall

VOID = {"meta", "br", "hr", "img", "input", "link"}
SECTIONS = {
    "measured", "readouts", "wall", "confusion", "classes", "sheets", "errors", "map",
    "calibration", "curves", "findings", "card", "provenance", "method",
}  # fmt: skip


class Page(HTMLParser):
    """Elements with their attributes and the text inside; a wrong nesting is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs)), f"{tag} repeats an attribute"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)

    @property
    def text(self) -> str:
        kept = [" ".join(parts) for tag, parts in self.texts.items() if tag not in ("script",)]
        return re.sub(r"\s+", " ", " ".join(kept))

    def all(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.elements if name == tag]

    def ids(self, tag: str) -> set[str]:
        return {attrs["id"] for attrs in self.all(tag) if "id" in attrs}


@pytest.fixture(scope="module")
def data() -> ReportData:
    return report_data(classes=6, per_class=9, spread=0.45)


@pytest.fixture(scope="module")
def page(data) -> str:
    return render_report(data, include_images=True)


def payload(text: str) -> dict:
    return json.loads(re.search(r'id="wall-data">(.*?)</script>', text, re.S)[1])


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


# --- the wall


@pytest.mark.parametrize("space", ["cosine", "euclidean"])
def test_wall_neighbours_equal_brute_force(space):
    data = report_data(classes=7, per_class=11, space=space)
    found = payload(render_report(data))
    points = data.embeddings_ND.astype(np.float64)[found["row"]]
    if space == "cosine":
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    for i, (near, far) in enumerate(zip(found["near"], found["far"], strict=True)):
        gaps = [(float(np.linalg.norm(points[i] - p)), j) for j, p in enumerate(points) if j != i]
        expected = sorted(gaps)[: found["k"]]
        assert near == [j for _, j in expected]
        np.testing.assert_allclose(far, [gap for gap, _ in expected], atol=6e-5)
    names = found["classes"]
    assert [names[i] for i in found["truth"]] == [data.items.truths[r] for r in found["row"]]
    assert [names[i] for i in found["label"]] == [data.items.labels[r] for r in found["row"]]


def test_wall_is_capped_evenly_and_says_so():
    data = report_data(classes=5, per_class=20)
    text = render_report(data, max_tiles=23)
    parsed = Page(text)
    tiles = [a for a in parsed.all("button") if "tile" in a.get("class", "")]
    assert len(tiles) == 23
    found = payload(text)
    sizes = np.bincount(found["truth"], minlength=5)
    assert sizes.max() - sizes.min() <= 1
    assert "The wall shows 23 of 100 images" in parsed.text
    assert [int(a["data-n"]) for a in tiles] == list(range(23))


def test_a_wall_of_two_and_the_refusal_of_one(data):
    wall = build_wall(data, Pictures(None), 2, 0)
    assert wall is not None
    assert wall.payload["near"] == [[1], [0]]
    with pytest.raises(UserError, match="max_tiles must be >= 2, got 1"):
        render_report(data, max_tiles=1)


def test_duplicates_do_not_hide_themselves_and_self_never_appears(data):
    same = np.ones((len(data.items), 4), dtype=np.float32)
    twin = replace(data, embeddings_ND=same, training=None)
    groups, k = sheet_groups(twin, Pictures(None), 0)
    for line in (line for group in groups for line in group.rows):
        assert len(line.hits) == k
        assert line.query.path not in [hit.path for hit in line.hits]


def test_sheets_equal_brute_force_and_given_neighbours(data):
    points = data.embeddings_ND / np.linalg.norm(data.embeddings_ND, axis=1, keepdims=True)
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    order = np.argsort(gaps, axis=1, kind="stable")[:, :8]
    given_too = replace(data, neighbours=(order, np.take_along_axis(gaps, order, axis=1)))
    row_of = {path: row for row, path in enumerate(data.items.paths)}
    for source in (data, given_too):
        groups, k = sheet_groups(source, Pictures(None), 0)
        assert k == 8
        for line in (line for group in groups for line in group.rows):
            row = row_of[line.query.path]
            assert [hit.path for hit in line.hits] == [data.items.paths[i] for i in order[row]]
            same = [data.items.truths[i] == data.items.truths[row] for i in order[row]]
            assert [hit.verdict == "right" for hit in line.hits] == same
            assert line.right == sum(same)


def test_errors_are_ordered_by_confidence(data):
    parsed = Page(render_report(data))
    sure = [int(m[1]) for m in re.finditer(r"(\d+)% sure", parsed.text)]
    assert len(sure) == min(12, len(data.items.wrong))
    assert sure == sorted(sure, reverse=True)
    assert "its nearest training images" in parsed.text
    alone = Page(render_report(replace(data, training=None)))
    assert "its nearest test images" in alone.text


# --- pictures


def test_no_picture_unless_asked_for(data):
    text = render_report(data)
    assert "data:image" not in text
    assert "Pictures were left out" in Page(text).text


def test_pictures_are_small_and_carry_no_metadata(data, page, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "somebody's name"
    original = tmp_path / "x.jpg"
    Image.fromarray(draw_scene("a_1.jpg", 300)).save(original, exif=exif)
    assert b"somebody" in original.read_bytes()
    with Image.open(original) as opened:
        loaded = np.asarray(opened)
    shown = replace(data, thumbnail=lambda path: loaded)
    for text in (page, render_report(shown, include_images=True, max_tiles=5)):
        uris = [a["src"] for a in Page(text).all("img")]
        assert uris
        for uri in uris:
            body = base64.b64decode(uri.removeprefix("data:image/webp;base64,"))
            image = Image.open(io.BytesIO(body))
            assert max(image.size) <= 128
            assert not image.getexif()
            assert b"EXIF" not in body
            assert b"somebody" not in body


def test_pictures_stop_at_their_budget_and_the_page_goes_on():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    size = len(data_uri(noise, 96))
    assert size < 9_000  # noise is re-encoded at the lower quality
    pictures = Pictures(lambda path: noise, budget=3 * size)
    assert [pictures.uri("x", 96) is not None for _ in range(5)] == [True] * 3 + [False] * 2
    assert pictures.left_out == 2


@pytest.mark.parametrize(
    "shape", [(9, 7), (9, 7, 1), (9, 7, 2), (9, 7, 3), (9, 7, 10), (400, 30, 3)]
)
def test_any_number_of_bands_becomes_a_picture(shape):
    uri = data_uri(np.full(shape, 90, dtype=np.uint8), 64)
    image = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert max(image.size) <= 64
    assert abs(np.asarray(image.convert("RGB")).mean() - 90) < 3


def test_what_is_no_picture_is_refused():
    with pytest.raises(UserError, match="picture must be a uint8 array"):
        data_uri(np.zeros((4, 4, 3)), 64)  # type: ignore[arg-type]


def test_a_thumbnail_that_fails_leaves_a_plain_tile(data):
    text = render_report(replace(data, thumbnail=lambda path: None), include_images=True)
    assert "data:image" not in text
    assert 'class="plain"' in text


# --- numbers and charts


def test_calibration_bins_equal_a_loop():
    rng = np.random.default_rng(3)
    confidence = np.append(rng.random(200), [0.0, 1.0])
    right = rng.random(202) < confidence
    expected = {}
    for c, r in zip(confidence, right, strict=True):
        expected.setdefault(min(int(c * 10), 9), []).append((c, r))
    bins = calibration_bins(confidence, right)
    assert len(bins) == len(expected)
    for found, (_, items) in zip(bins, sorted(expected.items()), strict=True):
        assert found.count == len(items)
        assert found.confidence == pytest.approx(np.mean([c for c, _ in items]))
        assert found.accuracy == pytest.approx(np.mean([r for _, r in items]))


@pytest.mark.parametrize(("hits", "count"), [(0, 5), (5, 5), (3, 10), (1, 1), (497, 500)])
def test_wilson_interval_equals_scipy(hits, count):
    expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert wilson(hits / count, count) == pytest.approx((expected.low, expected.high), abs=1e-5)


@given(low=st.floats(-1e4, 1e4), width=st.floats(1e-3, 1e5))
@settings(max_examples=60, deadline=None)
def test_ticks_are_inside_and_few(low, width):
    found = ticks(low, low + width)
    slack = width * 1e-6
    assert 1 <= len(found) <= 6
    assert all(low - slack <= tick <= low + width + slack for tick in found)
    assert found == sorted(set(found))


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(0, 70), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_balanced_sample_is_as_even_as_it_can_be(classes, cap, seed):
    chosen = balanced_sample(classes, cap, seed)
    assert len(chosen) == len(set(chosen)) == min(cap, len(classes))
    taken = {c: sum(classes[row] == c for row in chosen) for c in set(classes)}
    for c in taken:
        if taken[c] < classes.count(c):  # more could have been had: nobody got two more
            assert all(taken[c] >= other - 1 for other in taken.values())


def test_colours_differ_on_both_pages():
    pairs = class_colours(45)
    for colours in zip(*pairs, strict=True):
        rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours])
        gaps = np.abs(rgb[:, None] - rgb[None]).sum(axis=2) + 999 * np.eye(45, dtype=int)
        assert gaps.min() > 20


def test_projection_is_seeded_capped_and_says_its_method():
    data = report_data(classes=6, per_class=200)
    first = project(data.embeddings_ND[:90], _first(data, 90).items, "cosine", 0)
    again = project(data.embeddings_ND[:90], _first(data, 90).items, "cosine", 0)
    np.testing.assert_array_equal(first.points_P2, again.points_P2)
    assert first.method.startswith("t-SNE")
    assert 0.5 < first.trust <= 1
    few = project(data.embeddings_ND[:20], _first(data, 20).items, "cosine", 0)
    assert few.method.startswith("PCA")
    assert len(balanced_sample(data.items.class_of, 1000, 0)) == 1000


def _first(data, count):
    return replace(data, predictions=data.predictions[:count], embeddings_ND=None, training=None)


def test_projection_survives_copies_and_one_dimension():
    data = _first(report_data(classes=4, per_class=20), 80)
    for points in (np.ones((80, 3)), np.arange(80.0)[:, None] + 1):
        plane = project(points, data.items, "euclidean", 0)
        assert np.isfinite(plane.points_P2).all()


# --- the card


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# A", "<h3>A</h3>"),
        (
            "a **b** *c* _d_ `*e*`",
            "<p>a <strong>b</strong> <em>c</em> <em>d</em> <code>*e*</code></p>",
        ),
        ("- a\n- b\n  c", "<ul><li>a</li><li>b c</li></ul>"),
        ("1. a\n2. b", "<ol><li>a</li><li>b</li></ol>"),
        ("> q\n> r", "<blockquote>q r</blockquote>"),
        ("```\n<x>\n```", "<pre><code>&lt;x&gt;</code></pre>"),
        ("snake_case_name and 2*3*4", "<p>snake_case_name and 2*3*4</p>"),
        ("<b>x</b>", "<p>&lt;b&gt;x&lt;/b&gt;</p>"),
        ("[a](javascript:x)", "<p>[a](javascript:x)</p>"),
        ("a\0b", "<p>ab</p>"),
        ("---\nlicense: x\n---\n# A", "<pre><code>license: x</code></pre>\n<h3>A</h3>"),
    ],
)
def test_markdown(text, html):
    assert str(render_markdown(text)) == html


def test_markdown_tables_and_links():
    table = str(render_markdown("|a|b|\n|---|---|\n|1|x \\| y|"))
    assert '<th scope="col">a</th>' in table
    assert "<td>x | y</td>" in table
    link = str(render_markdown('[`a`](https://x.org/?a=1&b="2")'))
    assert 'href="https://x.org/?a=1&amp;b=&#34;2&#34;"' in link
    assert "<code>a</code></a>" in link


@given(st.text(alphabet="<>&\"'`*_[]()#|-\n\0 ab1.:/http", max_size=80))
@settings(max_examples=150, deadline=None)
def test_no_markdown_makes_an_unknown_element(text):
    parsed = Page(str(render_markdown(text)))
    known = {
        "h3", "h4", "h5", "h6", "p", "ul", "ol", "li", "pre", "code", "em", "strong", "a", "hr",
        "blockquote", "div", "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
    assert {tag for tag, _ in parsed.elements} <= known
    assert all(a["href"].startswith("http") for a in parsed.all("a"))


# --- refusals


def test_what_does_not_fit_is_refused(data):
    with pytest.raises(UserError, match="embeddings must be an array of 54 rows"):
        replace(data, embeddings_ND=data.embeddings_ND[:5])
    with pytest.raises(UserError, match="predictions must be a table with path, status and label"):
        replace(data, predictions=pd.DataFrame({"path": ["a"]}))
    with pytest.raises(UserError, match="neighbours must be two equal arrays"):
        replace(data, neighbours=(np.zeros((54, 2), int), np.zeros((54, 3))))


# --- in a browser


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
