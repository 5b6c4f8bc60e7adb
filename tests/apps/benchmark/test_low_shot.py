"""`likeness benchmark low-shot` from the front door, and its figures against plain loops."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from fixtures import retrieval_sets
from fixtures.front_door import assert_refused, changes, likeness
from fixtures.scenes import write_aid
from likeness.errors import UserError
from likeness_apps.benchmark.layouts import recognise
from likeness_apps.benchmark.low_shot import networks as made
from likeness_apps.benchmark.low_shot.division import divided
from likeness_apps.benchmark.low_shot.networks import Network, Networks
from likeness_apps.benchmark.low_shot.run import METHODS, asked, base_spec, tuning_of
from likeness_apps.benchmark.training import readable
from likeness_apps.shell import configs

SMALL = (
    *("epochs=1", "workers=0", "model.image_size=32", "model.embedding_dim=8"),
    "sampler={name: class_balanced, classes_per_batch: 3, per_class: 2}",
    *("schedule={name: constant}", "data.augmentation=null"),
)
TINY = changes(*SMALL)
DENSE = "[{loss: {name: contrastive}, miners: [{name: random_triplets}]}]"  # gives none
CLASSES = ("Airport", "BareLand", "Beach", "Bridge", "Desert", "Forest")


def bench(data, out, *more):
    return likeness("low-shot", data, "--out", out, *TINY, *more, application="benchmark")


@pytest.fixture
def scenes(tmp_path):
    """Six classes of eight, of which four are base."""
    return recognise(write_aid(tmp_path / "aid", CLASSES, per_class=8, side=16))


@pytest.fixture
def spec():
    return base_spec(configs.load("benchmark", "low_shot", SMALL))


def test_every_method_on_a_set_with_its_own_split(tmp_path):
    birds, out = retrieval_sets.write_cub200(tmp_path), tmp_path / "bench"
    words = ("--methods", ",".join(METHODS), "--shots", "1,2")
    ended = bench(birds, out, *words)
    assert ended.code == 0
    runs = pd.read_csv(out / "runs.csv")
    assert runs["method"].tolist() == list(METHODS)
    assert set(runs["status"]) == {"done"}
    said = pd.read_parquet(out / "queries" / "averaged_tuned-0.parquet")
    images = (birds / "images.txt").read_text().split()[1::2]
    training = (birds / "train_test_split.txt").read_text().split()[1::2]
    tested = {path for path, one in zip(images, training, strict=True) if one == "0"}
    assert {path.removeprefix("images/") for path in said["path"]} == tested
    novel = said["label"].str[:3].astype(int) > 3  # the first three of six are base
    assert said.loc[novel, "novel_accuracy@2"].notna().all()
    assert said.loc[~novel, "novel_accuracy@2"].isna().all()
    assert said.loc[~novel, "base_accuracy@2"].equals(said.loc[~novel, "accuracy@2"])
    row = runs[runs["method"] == "averaged_tuned"].iloc[0]
    assert row["novel_accuracy@2"] == pytest.approx(said.loc[novel, "accuracy@2"].mean(), abs=1e-6)
    figures = json.loads((out / "summary.json").read_text())["methods"]
    assert set(figures) == set(METHODS)
    value = figures["anew"]["base_accuracy@2"]["value"]
    assert "| anew@2 | 1 | " in (out / "summary.md").read_text()
    row = (out / "summary.md").read_text().split("| anew@2 |")[1].splitlines()[0]
    assert f"{value:.3f} [" in row.split("|")[2]
    assert "anew@2" in ended.out
    assert not list(out.glob("runs/*/*/checkpoints"))
    again = bench(birds, out, *words, "--repeats", "2", "--quiet")
    assert again.code == 0
    runs = pd.read_csv(out / "runs.csv")
    assert runs["repeat"].tolist() == [0] * len(METHODS) + [1] * len(METHODS)
    assert_refused(bench(birds, out, "--shots", "1"), "shots must be [1, 2], as when")


def test_shown_images_are_never_tested_and_the_few_are_among_the_many(scenes):
    division = divided(scenes, 0, 3)
    table = division.manifest.table
    assert division.novel_N.sum() == 2 * 8
    for shots in (1, 2, 3):
        shown = division.shown(shots)
        assert division.novel_N[shown].all()
        assert table["label"].iloc[shown].value_counts().tolist() == [shots] * 2
        assert not set(shown) & set(division.tested)
        assert set(division.shown(shots - 1)) <= set(shown)
    base = ~division.novel_N
    assert (table["split"] == "train")[base].sum() == 4 * 6  # 80 % of eight
    assert (table["split"] == "test")[base].sum() == 4 * 2
    assert (table["split"] == "test")[division.novel_N].sum() == 2 * 5
    assert not division.novel_N[(table["split"] == "train").to_numpy()].any()


@pytest.mark.parametrize("shots", [1, 2, 3])
def test_novel_classes_are_trained_as_often_as_base_classes(scenes, shots):
    division = divided(scenes, 0, 3)
    trained, table = division.training(shots).table, division.manifest.table
    assert set(trained["label"].value_counts()) == {6}  # 80 % of eight
    assert set(trained["path"]) == set(table["path"].iloc[division.examples(shots)])
    novel = trained[trained["label"].isin(table["label"][division.novel_N])]
    assert set(novel["path"].value_counts()) == {6 // shots}
    assert len(division.training(0).table) == 4 * 6


def test_divisions_differ_and_repeat(scenes):
    first, again, other = (divided(scenes, repeat, 3) for repeat in (0, 0, 1))
    assert first.manifest.table.equals(again.manifest.table)
    assert (first.shot_N == again.shot_N).all()
    assert (first.shot_N != other.shot_N).any()


def planted(scenes, spec, folder, tuned=None):
    """Networks that never trained: embeddings around a direction per class, with noise."""
    division = divided(scenes, 0, 3)
    random = np.random.default_rng(0)
    centres = random.normal(size=(6, 5))
    numbers = division.numbers_N
    embeddings = centres[numbers] + 0.9 * random.normal(size=(len(numbers), 5))
    vectors = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    vectors[sorted(set(numbers[division.novel_N]))] = 0
    found = Networks(division, spec, spec, folder)
    tensors = (torch.from_numpy(one).float() for one in (vectors, embeddings))
    found.base = Network(*tensors)  # in place of the cached property
    return found


def said_by_loops(networks, method, shots):
    """Each test image's class, from the definitions."""
    division, base = networks.division, networks.base
    embeddings = base.embeddings_ND.double().tolist()
    numbers, novel = division.numbers_N.tolist(), division.novel_N.tolist()
    unit = [[x / math.hypot(*row) for x in row] for row in embeddings]
    examples = [
        place
        for place in range(len(numbers))
        if 0 <= division.shot_N[place] < shots
        or division.manifest.table["split"].iloc[place] == "train"
    ]
    said = []
    for place in division.tested.tolist():
        best, answer = -math.inf, None
        for label in range(6):
            own = [unit[one] for one in examples if numbers[one] == label]
            is_novel = novel[numbers.index(label)]
            if method == "nearest":
                candidates = own
            elif method == "averaged" and not is_novel:
                candidates = [base.vectors_CD[label].double().tolist()]
            else:
                mean = [sum(column) / len(own) for column in zip(*own, strict=True)]
                candidates = [[x / math.hypot(*mean) for x in mean]]
            for row in candidates:
                cosine = sum(a * b for a, b in zip(unit[place], row, strict=True))
                if cosine > best:
                    best, answer = cosine, label
        said.append(answer)
    return np.array(said)


@pytest.mark.parametrize("method", ["averaged", "anew", "nearest"])
def test_answers_by_loops(scenes, spec, tmp_path, method):
    networks = planted(scenes, spec, tmp_path)
    found = asked(networks, method, (1, 3))
    division = networks.division
    truth, novel = division.numbers_N[division.tested], division.novel_N[division.tested]
    for shots in (1, 3):
        right = said_by_loops(networks, method, shots) == truth
        assert 0.2 < right.mean() < 1  # noise enough to be wrong at times
        assert found.values[f"accuracy@{shots}"] == right.mean()
        assert found.values[f"novel_accuracy@{shots}"] == right[novel].mean()
        assert found.values[f"base_accuracy@{shots}"] == right[~novel].mean()


def test_random_vectors_know_nothing_of_novel_classes(scenes, spec, tmp_path):
    networks = planted(scenes, spec, tmp_path)
    rows = networks.begun("random", 2)
    novel = sorted(set(networks.division.numbers_N[networks.division.novel_N]))
    base = [number for number in range(6) if number not in novel]
    assert torch.allclose(rows.norm(dim=1), torch.ones(6), atol=1e-6)
    assert torch.equal(rows[base], networks.base.vectors_CD[base])
    assert torch.equal(rows, networks.begun("random", 3))  # the same start for all
    averaged = asked(networks, "averaged", (3,)).values["novel_accuracy@3"]
    assert averaged > asked(networks, "random", (3,)).values["novel_accuracy@3"]


@pytest.mark.parametrize("start", ["averaged", "anew", "random"])
def test_fine_tuning_begins_where_the_base_network_ended(
    scenes, spec, tmp_path, monkeypatch, start
):
    """Without a step of it, it is the base network with the class vectors that were begun."""
    readable_scenes = readable(scenes, quiet=True)
    division = divided(readable_scenes, 0, 3)
    networks = Networks(division, spec, tuning_of(spec, 1, 0.1), tmp_path)
    base = networks.base
    monkeypatch.setattr(made, "train", lambda setup, folder, *, quiet: None)
    tuned = networks.tuned(start, 2)
    assert torch.equal(tuned.embeddings_ND, base.embeddings_ND)
    assert torch.allclose(tuned.vectors_CD, networks.begun(start, 2), atol=1e-6)
    # What was trained is a class layer of base classes alone, in whatever order these come.
    novel = sorted(set(division.numbers_N[division.novel_N]))
    assert not base.vectors_CD[novel].any()
    assert torch.equal(
        base.vectors_CD.any(1).nonzero()[:, 0],
        torch.tensor([number for number in range(6) if number not in novel]),
    )


def test_the_budget_of_fine_tuning():
    raw = configs.load("benchmark", "low_shot")
    spec = base_spec(raw)
    tuned = tuning_of(spec, None, 0.1)
    assert (spec.epochs, tuned.epochs) == (15, 5)
    assert tuned.schedule.warmup_epochs == pytest.approx(1)
    assert tuned.optimiser.lr == pytest.approx(0.1 * spec.optimiser.lr)
    stepped = raw | {"schedule": {"name": "step", "milestones": [5, 10], "gamma": 0.1}}
    assert tuning_of(base_spec(stepped), 3, 1.0).schedule.milestones == (1, 2)


def test_refusals(tmp_path, scenes):
    birds, out = retrieval_sets.write_cub200(tmp_path), tmp_path / "bench"
    for words, *sentence in (
        (("--methods", "averaged,mean"), "methods must be of averaged, anew", "got 'mean'"),
        (("--shots", "2,1"), "shots must be ascending whole numbers", "got '2,1'"),
        (("--shots", "none"), "shots must be ascending whole numbers", "got 'none'"),
        (("--shots", "1,x"), "shots must be ascending whole numbers from 1", "got '1,x'"),
        (("--shots", "-1"), "shots must be ascending whole numbers from 1", "got '-1'"),
        (("--shots", "1,3"), "data must be at least 3 images of 004.Bird_4 to be shown, got 2"),
        (("--set", f"objective.terms={DENSE}", "--shots", "1"), "must be such that give dense"),
        (("--set", "model.class_layer=linear"), "model.class_layer must be cosine"),
        (("--set", "objective.classification=null"), "objective"),
    ):
        assert_refused(bench(birds, out, *words), *sentence, left=out)
    (birds / "train_test_split.txt").write_text("1 0\n")
    assert_refused(bench(birds, out), "train_test_split.txt must be a list of all images")
    with pytest.raises(UserError, match=r"at least 1 images of .* to be tested, got 0"):
        divided(scenes, 0, 8)
