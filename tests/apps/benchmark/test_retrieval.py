"""`likeness benchmark retrieval` from the front door, on tiny sets."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from fixtures import retrieval_sets
from fixtures.front_door import assert_refused, changes, likeness
from likeness.errors import UserError
from likeness_apps.benchmark.protocol import measured
from likeness_apps.benchmark.recipes import RECIPES, batch_images, checked, known
from likeness_apps.shell import configs

TINY = changes(
    "epochs=1",
    "workers=0",
    "model.image_size=32",
    "model.embedding_dim=8",
    "sampler.classes_per_batch=3",
    "sampler.per_class=4",
    "schedule.warmup_epochs=0",
    "data.augmentation=null",
)
BASE = configs.load("benchmark", "retrieval")


def bench(data, out, methods, *more):
    asked = ("retrieval", data, "--methods", methods, "--out", out, *TINY, *more)
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
    assert "triplet failed" in ended.out
    ended = bench(data, out, "untrained,triplet", "--repeats", "2", "--quiet")
    assert (ended.code, ended.out) == (0, "")
    runs = pd.read_csv(out / "runs.csv")
    made = list(zip(runs["method"], runs["repeat"], runs["status"], strict=True))
    assert made == [
        *(("untrained", 0, "done"), ("triplet", 0, "failed")),
        *(("untrained", 1, "done"), ("triplet", 1, "failed")),
        *(("triplet", 0, "done"), ("triplet", 1, "done")),
    ]
    assert runs["note"].fillna("").tolist()[1] == "UserError: loss must be finite, got nan"
    figures = json.loads((out / "summary.json").read_text())["methods"]
    assert set(figures) == {"untrained", "triplet"}
    assert set(figures["triplet"]) == {"recall@1", "map@r", "r_precision", "nmi", "repeats"}
    value = figures["triplet"]["map@r"]
    assert value["low"] <= value["value"] <= value["high"]
    trained = runs[(runs["method"] == "triplet") & (runs["status"] == "done")]
    assert value["value"] == pytest.approx(trained["map@r"].mean(), abs=1e-6)
    assert trained["images"].tolist() == [12, 12]  # one epoch of twelve training images
    assert not list(out.glob("runs/*/checkpoints"))
    assert_refused(bench(data, out, "triplet", "--set", "epochs=2"), "config must be as it was")
    other = retrieval_sets.write_sop(tmp_path)
    assert_refused(bench(other, out, "triplet"), "layout must be as it was", "inshop")


def test_a_method_of_ones_own(tmp_path):
    data, out = retrieval_sets.write_sop(tmp_path), tmp_path / "bench"
    own = tmp_path / "wide.yaml"
    own.write_text("objective: {classification: null, terms: [{loss: {name: triplet, margin: 1}}]}")
    assert bench(data, out, str(own), "--quiet").code == 0
    assert pd.read_csv(out / "runs.csv")["method"].tolist() == ["wide"]
    own.write_text("objective: {classification: null, terms: [{loss: {name: triplet, margin: 2}}]}")
    assert_refused(bench(data, out, str(own)), "wide must be the method that it was")
    own.write_text("epochs: 100\n")
    assert_refused(bench(data, out, str(own)), "wide.yaml must be of the groups", "epochs")


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ("tripelt", ("methods must be YAML files or among", "triplet", "'tripelt'")),
        ("triplet,triplet", ("methods must be named once each",)),
        (",", ("methods must be at least one",)),
    ],
)
def test_mistakes_in_methods(tmp_path, methods, words):
    data, out = tmp_path, tmp_path / "bench"
    assert_refused(bench(data, out, methods), *words, left=out)


def test_every_method_has_the_same_batch():
    names = known()
    assert set(RECIPES) <= set(names)
    for name, spec in checked(BASE, names).items():
        assert batch_images(spec.sampler) == 64, name
        assert (spec.epochs, spec.schedule, spec.data) == (12, spec.schedule, spec.data)
    unequal = {**BASE, "sampler": {"name": "shuffled", "batch_size": 32}}
    with pytest.raises(UserError, match=r"n_pair.sampler must be batches of 32 images"):
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
