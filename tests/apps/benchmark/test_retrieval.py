"""`likeness benchmark retrieval` from the front door, on tiny sets."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fixtures import retrieval_sets
from fixtures.front_door import assert_refused, changes, likeness
from likeness.errors import UserError
from likeness_apps.benchmark import table
from likeness_apps.benchmark.protocol import measured
from likeness_apps.benchmark.recipes import RECIPES, batch_images, checked, known
from likeness_apps.shell import configs

UNFITTED = (
    *("epochs=1", "workers=0", "model.image_size=32", "model.embedding_dim=8"),
    *("schedule.warmup_epochs=0", "data.augmentation=null"),
)
TINY = (*UNFITTED, "sampler.classes_per_batch=3", "sampler.per_class=4")
BASE = configs.load("benchmark", "retrieval")


def bench(data, out, methods, *more, items=TINY):
    asked = ("retrieval", data, "--methods", methods, "--out", out, *changes(*items), *more)
    return likeness(*asked, application="benchmark")


def test_a_table_that_is_resumed_and_keeps_failed_runs(tmp_path, monkeypatch):
    data, out = retrieval_sets.write_inshop(tmp_path), tmp_path / "bench"
    broken = "likeness_apps.benchmark.rounds.train"

    def fails(setup, folder, *, quiet):
        raise UserError("loss must be finite, got nan")

    with monkeypatch.context() as patched:
        patched.setattr(broken, fails)
        ended = bench(data, out, "untrained,triplet", "--repeats", "2")
    assert ended.code == 1
    assert ended.err.splitlines() == ["triplet failed: loss must be finite, got nan"] * 2
    ended = bench(data, out, "untrained,triplet", "--repeats", "2", "--quiet")
    assert (ended.code, ended.out) == (0, "")
    runs = pd.read_csv(out / "runs.csv")
    made = list(zip(runs["method"], runs["repeat"], runs["status"], strict=True))
    assert made == [
        *(("untrained", 0, "done"), ("triplet", 0, "failed")),
        *(("untrained", 1, "done"), ("triplet", 1, "failed")),
        *(("triplet", 0, "done"), ("triplet", 1, "done")),
    ]
    assert runs["note"].fillna("").tolist()[1] == "loss must be finite, got nan"
    figures = json.loads((out / "summary.json").read_text())["methods"]
    assert set(figures) == {"untrained", "triplet"}
    assert set(figures["triplet"]) == {"recall@1", "map@r", "r_precision", "nmi", "repeats"}
    value = figures["triplet"]["map@r"]
    assert value["low"] <= value["value"] <= value["high"]
    trained = runs[(runs["method"] == "triplet") & (runs["status"] == "done")]
    assert value["value"] == pytest.approx(trained["map@r"].mean(), abs=1e-6)
    assert trained["images"].tolist() == [12, 12]  # one epoch of twelve training images
    assert figures["triplet"]["nmi"] == {"value": pytest.approx(trained["nmi"].mean(), abs=1e-6)}
    assert not list(out.glob("runs/*/checkpoints"))
    other = bench(data, out, "triplet", "--set", "clip_norm=2")
    assert_refused(other, "config.clip_norm must be None, as when", "another --out), got 2")
    assert len(other.err) < 300
    other = retrieval_sets.write_sop(tmp_path)
    assert_refused(bench(other, out, "triplet"), "layout must be 'inshop', as when")


def test_a_method_of_ones_own(tmp_path):
    data, out = retrieval_sets.write_sop(tmp_path), tmp_path / "bench"
    own = tmp_path / "wide.yaml"
    own.write_text("objective: {classification: null, terms: [{loss: {name: triplet, margin: 1}}]}")
    assert bench(data, out, str(own)).code == 0
    runs = pd.read_csv(out / "runs.csv")
    assert runs["method"].tolist() == ["wide"]
    heads, _, row = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (out / "summary.md").read_text().splitlines()
    )
    cells = dict(zip(heads, row, strict=True))
    assert cells["nmi"] == f"{runs['nmi'][0]:.3f}"  # of all images together: nothing to draw
    assert cells["map@r"].startswith(f"{runs['map@r'][0]:.3f} [")
    own.write_text("objective: {classification: null, terms: [{loss: {name: triplet, margin: 2}}]}")
    assert_refused(bench(data, out, str(own)), "loss.margin of method wide must be 1.0, as when")
    own.write_text("epochs: 100\n")
    assert_refused(bench(data, out, str(own)), "wide.yaml must be of the groups", "epochs")


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ("tripelt", ("methods must be YAML files or known", "'tripelt'; did you mean 'triplet'?")),
        ("nosuch", ("methods must be YAML files or among untrained, cross_entropy", "'nosuch'")),
        ("triplet,triplet", ("methods must be named once each",)),
        (",", ("methods must be at least one",)),
    ],
)
def test_mistakes_in_methods(tmp_path, methods, words):
    data, out = tmp_path, tmp_path / "bench"
    assert_refused(bench(data, out, methods), *words, left=out)


CONTRASTIVE = "{loss: {name: contrastive}, miners: [{name: random_triplets}]}"


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        (f"terms: [{CONTRASTIVE}]", ("of method odd must be",)),
        ("terms: [{loss: {name: modality_triplets}}]", ("columns of method odd must be",)),
        ("terms: [{loss: {name: triplet, margn: 1}}]", ("margn of method odd must be a known",)),
    ],
)
def test_what_train_refuses_is_refused_before_the_first_run(tmp_path, objective, words):
    data, out, own = retrieval_sets.write_sop(tmp_path), tmp_path / "bench", tmp_path / "odd.yaml"
    own.write_text(f"objective: {{classification: null, {objective}}}")
    for path in data.rglob("*.JPG"):
        path.write_bytes(b"")  # nobody looks
    assert_refused(bench(data, out, f"untrained,{own}"), *words, left=out)


def test_a_key_is_named_as_it_was_written(tmp_path):
    data, out = retrieval_sets.write_sop(tmp_path), tmp_path / "bench"
    sentence = "Error: config.epohcs must be a known key, got 1; did you mean 'epochs'?"
    assert_refused(bench(data, out, "untrained", "--set", "epohcs=1"), sentence, left=out)
    key = "objective.synthesis.start_epoch of method intra_class must be"
    assert_refused(bench(data, out, "untrained,intra_class"), key, "got 3", left=out)


def test_no_table_of_nothing_and_failures_are_said_even_if_quiet(tmp_path, monkeypatch):
    data, out = retrieval_sets.write_sop(tmp_path), tmp_path / "bench"

    def fails(setup, folder, *, quiet):
        raise ZeroDivisionError("so it is")

    monkeypatch.setattr("likeness_apps.benchmark.rounds.train", fails)
    ended = bench(data, out, "triplet", "--quiet")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "triplet failed: ZeroDivisionError: so it is\n"
    assert "method" not in bench(data, out, "triplet").out
    assert not list(out.glob("summary.*"))


def test_batches_are_fitted_to_a_small_set(tmp_path):
    """Classes of four images, three to train on: not 3 x 21 in place of 16 x 4."""
    data, out = retrieval_sets.write_cub200(tmp_path), tmp_path / "bench"
    ended = bench(data, out, "untrained", items=UNFITTED)
    assert ended.code == 0
    said = "The data have 3 classes: sampler.classes_per_batch=3 instead of 16\n"
    assert said in ended.out


def test_a_figure_that_a_repeat_lacks_is_left_out():
    """Random halves of classes of unequal size: one has too few images for recall@8."""
    large = pd.DataFrame({"path": list("abcd"), "label": list("xxyy"), "recall@1": [1.0, 0, 1, 0]})
    tables = [large.assign(**{"recall@8": 1.0}), large]
    for order in (tables, tables[::-1]):
        found = table.figures_over(order, shared=False)
        assert {name: item["value"] for name, item in found.items()} == {"recall@1": 0.5}


def test_no_word_or_figure_of_a_table_is_cut(monkeypatch, capsys):
    names = ("recall@1", "recall@2", "recall@4", "recall@8", "map@r", "r_precision", "nmi")
    figure = {"value": 0.5, "low": 0.364, "high": 0.636}
    found = {"untrained": dict.fromkeys(names, figure) | {"repeats": 1}}
    table.show("title", found, Path("out/summary.md"), quiet=False)
    whole = capsys.readouterr().out
    assert whole.count("0.500 [0.364, 0.636]") == 7  # a pipe is as wide as need be
    assert "summary.md" not in whole
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        table.show("title", found, Path("out/summary.md"), quiet=False)
        shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
        *drawn, last = shown.splitlines()
        assert all(len(line) <= width for line in drawn)
        row = next(line for line in drawn if "untrained" in line)
        assert row.count("0.500") == (5 if width == 80 else 7)
        assert "[" not in row
        assert last == "too wide for this terminal; all figures with intervals: out/summary.md"


def test_every_method_has_the_same_batch():
    names = known()
    assert set(RECIPES) <= set(names)
    for name, spec in checked(BASE, names).items():
        assert batch_images(spec.sampler) == 64, name
        assert (spec.epochs, spec.schedule, spec.data) == (12, spec.schedule, spec.data)
    unequal = {**BASE, "sampler": {"name": "shuffled", "batch_size": 32}}
    with pytest.raises(UserError, match=r"sampler of method n_pair must be batches of 32 images"):
        checked(unequal, ["n_pair"])


def test_figures_equal_a_loop():
    """Recall, MAP@R and R-precision of a gallery, by their definitions."""
    generator = np.random.default_rng(0)
    rows = [(f"{n}", f"c{n % 3}", "query" if n < 9 else "gallery") for n in range(24)]
    tested = pd.DataFrame(rows, columns=["path", "label", "role"])
    points_ND = generator.normal(size=(24, 5))
    found = measured(points_ND, tested, "inshop", "cosine")
    unit_ND = points_ND / np.linalg.norm(points_ND, axis=1, keepdims=True)
    hits, precisions, maps = [], [], []
    for query in range(9):
        order = sorted(range(9, 24), key=lambda other: -unit_ND[query] @ unit_ND[other])
        right = [tested["label"][other] == tested["label"][query] for other in order]
        count = sum(right)
        hits.append(right[0])
        precisions.append(sum(right[:count]) / count)
        ranked = [sum(right[: k + 1]) / (k + 1) for k in range(count) if right[k]]
        maps.append(sum(ranked) / count)
    assert found.values["recall@1"] == pytest.approx(np.mean(hits))
    assert found.values["r_precision"] == pytest.approx(np.mean(precisions))
    assert found.values["map@r"] == pytest.approx(np.mean(maps))
    assert set(found.values) == {"recall@1", "recall@10", "map@r", "r_precision", "nmi"}
    assert found.queries["path"].tolist() == [str(n) for n in range(9)]
