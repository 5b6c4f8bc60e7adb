"""The page of a ranking: complete, true to metrics.json, and without pictures unless asked."""

from __future__ import annotations

import html
import re
from functools import cache

import numpy as np
import pandas as pd
import pytest

from fixtures.pages import Page
from fixtures.people import picture
from fixtures.tracklet_sets import draw_halves, draw_set
from likeness.evaluation.resampling import Bootstrap
from likeness.evaluation.verdict import calibrate
from likeness.files import finite
from likeness_apps.person_reid.domain import DOMAIN
from likeness_apps.person_reid.open_set import open_set_figures, tracklet_pairs
from likeness_apps.person_reid.report import write_report
from likeness_apps.person_reid.report.charts import cmc_curve, percent
from likeness_apps.person_reid.report.rankings import RANKS, confusions, rankings
from likeness_apps.person_reid.report.result import Result
from likeness_apps.person_reid.scoring import score_tracklets

FEW = Bootstrap(replicates=40)
OWN = {
    *("measured", "cmc", "verdicts", "verification", "identification", "cameras", "unmatched"),
    *("confusions", "provenance", "method"),
}


@cache
def measured(protocol="mars-torchreid", seed=0, verdicts=True):
    """(metrics as JSON has them, queries, table, features)."""
    features_ND, table = draw_set(seed, identities=40)
    scored = score_tracklets(features_ND, table, protocol, bootstrap=FEW)
    fixed = None
    if verdicts:
        other_ND, others = draw_set(seed + 100, identities=40, junk=0, distractors=0)
        pairs = tracklet_pairs(other_ND, others)
        rates = {"false_accept_rate": 0.02, "false_reject_rate": 0.05}
        fixed = calibrate(pairs, **rates, prior=0.5, bootstrap=FEW)
    found = open_set_figures(features_ND, table, fixed, bootstrap=FEW)
    metrics = scored.metrics | {"open_set": found, "split": "test", "provenance": {"seed": 3}}
    return finite(metrics), scored.queries, table, features_ND


def written(path, result, **changes):
    metrics, queries, table, features_ND = result
    given = {
        "title": "A test",
        "metrics": metrics,
        "queries": queries,
        "tracklets": table,
        "features": features_ND,
    }
    write_report(path / "report.html", DOMAIN, **(given | changes))
    return (path / "report.html").read_text(encoding="utf-8")


def flat(page):
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", page)))


def test_every_section_is_there_once_and_anchors_lead_somewhere(tmp_path):
    page = written(tmp_path, measured(), card="# Card\n\nintended use")
    parsed = Page(page)
    assert parsed.ids("section") == {*OWN, "card", "left-out"}
    ids = [attrs["id"] for _, attrs in parsed.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    anchors = {attrs["href"][1:] for attrs in parsed.all("a") if attrs["href"].startswith("#")}
    assert anchors <= set(ids)
    assert all("aria-label" in attrs for attrs in parsed.all("svg") if attrs.get("role") == "img")
    assert all("scope" in attrs for attrs in parsed.all("th"))
    assert not any("style" in attrs for _, attrs in parsed.elements)
    assert DOMAIN.notice in flat(page)


def test_numbers_are_those_of_the_metrics(tmp_path):
    metrics, queries, _, _ = result = measured()
    text = flat(written(tmp_path, result))
    for name, entry in metrics["retrieval"].items():
        title = {"map": "mAP", "minp": "mINP"}.get(name, name.replace("cmc@", "Rank-"))
        ends = f"{100 * entry['low']:.1f} {100 * entry['high']:.1f}"
        assert f"{title} {100 * entry['value']:.1f} % {ends} {entry['count']}" in text
    assert all(rule in text for rule in metrics["protocol_text"].values())
    open_set = metrics["open_set"]
    for point in (*open_set["verification"], *open_set["identification"]["points"]):
        if point["reason"]:
            assert f"not stated: {point['reason']}" in text
        else:
            rate = point["true_rate"]
            ends = f"{100 * rate['low']:.1f} to {100 * rate['high']:.1f}"
            assert f"{percent(rate['value'])} {ends}" in text
    for kind in ("genuine", "impostor"):
        shares = [
            f"{percent(rate['value'])} {100 * rate['low']:.1f} to {100 * rate['high']:.1f}"
            for name in ("same", "unknown", "different")
            for rate in [open_set["verdicts"]["rates"][f"{kind}_{name}"]]
        ]
        assert f"{kind} {open_set['pairs'][kind]:,} {' '.join(shares)}" in text
    stored = open_set["identification"]["at_same_from"]
    for name in ("dir", "far"):
        assert f"{name.upper()} {percent(stored[name]['value'])}" in text
    for reason, count in metrics["unmatched"].items():
        assert f"{count} {reason}" in text
    assert f"{len(queries)} queries of" in text


def test_cells_of_camera_matrices_are_labelled(tmp_path):
    metrics = measured()[0]
    parsed = Page(written(tmp_path, measured()))
    tips = [attrs["data-tip"] for attrs in parsed.all("td") if "data-tip" in attrs]
    pairs = metrics["camera_pairs"]
    for key, title in (("rank1", "Rank-1"), ("map", "mAP")):
        for row, asks in enumerate(pairs["cameras"]):
            for column, answers in enumerate(pairs["cameras"]):
                share, count = pairs[key][row][column], pairs["queries"][row][column]
                told = f"camera {asks} asks camera {answers}: {title}"
                assert f"{told} {100 * share:.1f} % over {count} queries" in tips


@pytest.mark.parametrize("protocol", ["mars-official", "mars-torchreid", "cross-camera"])
def test_the_first_ranks_are_those_of_the_figures(protocol):
    metrics, queries, table, features_ND = measured(protocol)
    found = rankings(Result(metrics, queries, table, features_ND))
    labels = found.table["label"].to_numpy()
    assert found.table["tracklet"].to_numpy()[found.rows_Q].tolist() == queries["tracklet"].tolist()
    for place, first in enumerate(queries["first_rank"]):
        own = labels[found.rows_Q[place]]
        right = [labels[item] == own for item in found.item_QK[place] if item >= 0]
        assert (right.index(True) + 1 if any(right) else 0) == (first if first <= RANKS else 0)
    assert "junk" not in set(labels[found.item_QK[found.item_QK >= 0]])


def test_confusions_by_a_loop(tmp_path):
    metrics, queries, table, features_ND = measured()
    found = rankings(Result(metrics, queries, table, features_ND))
    labels = found.table["label"].tolist()
    count = {}
    for query, item in zip(found.rows_Q, found.item_QK[:, 0], strict=True):
        if labels[query] != labels[item]:
            pair = frozenset((labels[query], labels[item]))
            count[pair] = count.get(pair, 0) + 1
    listed = confusions(found)
    assert [each.count for each in listed] == sorted(count.values(), reverse=True)[: len(listed)]
    for each in listed:
        assert count[frozenset(each.names)] == each.count
        assert each.queries == sum(queries["label"] == name for name in each.names).sum()
    text = flat(written(tmp_path, measured()))
    query, item = listed[0].examples[0]
    assert f"{query} → {item}" in text


def test_the_cmc_curve_goes_through_the_stated_ranks():
    for result in (measured("mars-official"), measured("mars-torchreid")):
        metrics, queries, _, _ = result
        curve = cmc_curve(Result(metrics, queries))
        for name, entry in metrics["retrieval"].items():
            if name.startswith("cmc@"):
                place = curve.ranks.index(int(name.removeprefix("cmc@")))
                assert curve.shares[place] == pytest.approx(entry["value"])
                assert curve.lows[place] <= curve.shares[place] <= curve.highs[place]
        assert curve.shares == sorted(curve.shares)


def test_random_splits_have_a_mean_curve_and_no_camera_matrices(tmp_path):
    features_ND, table = draw_halves(2, people=24, splits=10)
    scored = score_tracklets(features_ND, table, "prid2011", bootstrap=FEW)
    result = finite(scored.metrics), scored.queries, table, features_ND
    curve = cmc_curve(Result(result[0], scored.queries))
    stated = scored.metrics["retrieval"]
    assert curve.shares[4] == pytest.approx(stated["cmc@5"]["value"])
    assert np.isnan(curve.lows).all()
    page = written(tmp_path, result)
    assert Page(page).ids("section") == {
        *("measured", "cmc", "unmatched", "confusions", "method", "left-out")
    }
    text = flat(page)
    assert "10 of the 10 random splits" in text
    assert "Of random split 1, the first one." in text
    assert "metrics.json holds no open-set figures" in text


def frames_of(table, root, count=3):
    """A tiny image for each of `count` frames of every tracklet, and their table."""
    rows = []
    for number, tracklet in enumerate(table["tracklet"]):
        for frame in range(count):
            path = f"{tracklet}/{frame}.jpg"
            picture(root / path, number, frame)
            rows.append({"path": path, "tracklet": tracklet, "frame": frame})
    return pd.DataFrame(rows)


def test_no_picture_is_in_the_page_unless_asked_for(tmp_path):
    table = measured()[2]
    frames = frames_of(table.iloc[:3], tmp_path / "set", 1)
    page = written(tmp_path, measured(), root=tmp_path / "set", frames=frames)
    assert "data:image" not in page
    assert Page(page).all("img") == []
    assert "--include-images" in flat(page)


@pytest.fixture(scope="module")
def pictured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictured")
    table = measured()[2]
    frames = frames_of(table, folder / "set", 2)
    lost = frames["tracklet"] == table["tracklet"].iloc[0]
    for path in frames["path"][lost]:
        (folder / "set" / path).write_bytes(b"no picture")
    options = {"root": folder / "set", "frames": frames, "include_images": True}
    return written(folder, measured(), **options)


def test_rank_sheets_mark_what_was_found_in_words(pictured):
    parsed = Page(pictured)
    assert "ranks" in parsed.ids("section")
    images = parsed.all("img")
    assert len(images) > 50
    assert all(image["src"].startswith("data:image/webp;base64,") for image in images)
    alts = [image["alt"] for image in images]
    queries = [alt for alt in alts if alt.startswith("Query")]
    assert 4 <= len(queries) <= 8
    ranks = [alt for alt in alts if alt.startswith("Rank 1,")]
    rights = sum("right" in alt for alt in ranks)
    assert 1 <= rights <= 3
    text = flat(pictured)
    assert "✓ right · rank 1" in text
    assert "✗ wrong · rank 1" in text
    assert "own camera" in text
    assert text.count("First true match at rank 1 ") >= 1


def test_nobody_is_named_in_texts_of_pictures(pictured):
    _, _, table, _ = measured()
    names = {*table["label"], *table["tracklet"]} - {"junk", "distractor"}
    for _, attrs in Page(pictured).elements:
        for key in ("alt", "aria-label", "data-tip", "title"):
            words = set(re.findall(r"[\w.-]+", attrs.get(key) or ""))
            assert not words & names, attrs[key]
    assert not set(re.findall(r"<desc>(.*?)</desc>", pictured)) & names


def test_one_camera_without_pairs_is_a_page_all_the_same(tmp_path):
    features_ND, table = draw_set(3)
    table = table.assign(camera="7")
    scored = score_tracklets(features_ND, table, "mars-official", bootstrap=FEW)
    found = open_set_figures(features_ND, table, None, reason="too few pairs", bootstrap=FEW)
    metrics = finite(scored.metrics | {"open_set": found})
    text = flat(written(tmp_path, (metrics, scored.queries, table, features_ND)))
    assert "Every pair is unknown : too few pairs." in text
    assert "There is no pair of tracklets of different cameras." in text
    assert "no probe meets a tracklet of another camera." in text
    assert f"{len(scored.queries)} all other items" in text


def test_without_tracklets_the_page_says_what_is_missing(tmp_path):
    nothing = {"tracklets": None, "features": None, "include_images": True}
    text = flat(written(tmp_path, measured(verdicts=False), **nothing))
    assert "they need the tracklets and their features" in text
    assert "strips need the frames" in text
    assert "no thresholds were fixed for this model" in text


def test_validation_identities_are_said_to_be_those_of_the_thresholds(tmp_path):
    metrics, *rest = measured()
    page = written(tmp_path, (metrics | {"split": "val"}, *rest))
    assert "These are those very people" in page
    assert "These are those very people" not in written(tmp_path, measured())


def test_names_from_the_data_cannot_break_out(tmp_path):
    evil = '<script>alert("x")</script>'
    features_ND, table = draw_set(5)
    table["tracklet"] = table["tracklet"] + evil
    table["camera"] = table["camera"] + evil
    scored = score_tracklets(features_ND, table, "mars-torchreid", bootstrap=FEW)
    page = written(tmp_path, (finite(scored.metrics), scored.queries, table, features_ND))
    assert evil not in page
    assert len(Page(page).all("script")) == 1


def test_equal_input_gives_equal_bytes(tmp_path, pictured):
    assert written(tmp_path, measured()) == written(tmp_path, measured())


def test_a_run_and_its_evaluation_leave_pages(walkers_run, walkers_result):
    run = (walkers_run / "report.html").read_text(encoding="utf-8")
    assert {"curves", "findings", "card", "provenance", *OWN} <= Page(run).ids("section")
    assert "These are those very people" not in run  # too few pairs: every pair is unknown
    assert "generated data" in run
    assert "data:image" not in run
    result = (walkers_result / "report.html").read_text(encoding="utf-8")
    assert {"card", *OWN} <= Page(result).ids("section")
    assert "mars-official" in result
    assert "data:image" not in result
