"""The papers' configurations, and `likeness reproduce` from the front door."""

from __future__ import annotations

import json
import shlex

import pandas as pd
import pytest
import typer
import yaml

from fixtures import retrieval_sets
from fixtures.front_door import assert_refused, changes, likeness
from fixtures.scenes import write_aid, write_ucmerced
from likeness.config import parse
from likeness_apps.cli import app
from likeness_apps.papers.spec import PaperSpec, load_paper
from likeness_apps.shell import configs

NAMES = configs.names("papers")
# What each seed paper is called here.
SEEDS = {
    *("lifted_structured", "proxy_nca", "proxy_nca_pp", "n_pair", "cbml", "margin", "hier"),
    *("multi_similarity", "rkd", "margin_discriminate", "proxy_anchor", "mpa", "hdml"),
    *("two_stage", "alternating_projections", "multi_head", "bspml", "symmetrical_synthesis"),
    *("iaa", "das", "loss_ensemble", "mathm", "weight_imprinting"),
    *("gong2019", "sumbul2021", "demal_cnn", "osm_caa", "gaussian_expression"),
}
TINY = changes(
    "epochs=1",
    "frozen_epochs=0",
    "workers=0",
    "model.backbone=resnet18",
    "model.weights=none",
    "model.image_size=32",
    "model.embedding_dim=8",
    "sampler={name: class_balanced, classes_per_batch: 3, per_class: 4}",
    "schedule={name: constant}",
    "data.augmentation=null",
)


def reproduce(*words):
    name, *rest = words
    return likeness(name, *rest, application="reproduce")


def test_every_seed_paper_is_there():
    assert set(NAMES) >= SEEDS


@pytest.mark.parametrize("name", NAMES)
def test_a_paper_says_what_it_must(name):
    paper = load_paper(name)
    path = configs.shipped("configs") / "papers" / f"{name}.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    words = shlex.split(lines[0].removeprefix("# "))
    assert words[:3] == ["likeness", "reproduce", name]
    given = typer.main.get_command(app).commands["reproduce"].make_context("r", words[2:]).params
    assert given["out"].name == name
    assert lines[1].startswith("# Time: ")
    assert lines[2].startswith("# Expect: no figure of ours")
    assert paper.ours
    for layout in paper.layouts:
        load_paper(name, layout=layout)
    if paper.settings == "reconstruction" and paper.runner == "zero-shot":
        assert paper.published == "none readable"  # no settings of ours stand for its figures
    for figure in paper.figures():
        assert 0 < figure.value <= 1


def test_figures_of_another_set_are_refused():
    raw = configs.load("papers", "margin")
    raw["published"][0]["layout"] = "aid"
    with pytest.raises(ValueError, match=r"published.layout must be one of layouts, cub200"):
        parse(PaperSpec, raw)


def test_ours_stand_beside_theirs_and_a_stopped_run_goes_on(tmp_path):
    data, out = retrieval_sets.write_cub200(tmp_path), tmp_path / "out"
    ended = reproduce("proxy_anchor", data, "--out", out, *TINY)
    assert ended.code == 0, ended.err
    assert "0.699" in ended.out
    assert "changed here: epochs=1" in ended.out
    result = json.loads((out / "reproduced.json").read_text())
    (figure,) = result["figures"]
    assert (figure["measure"], figure["theirs"]) == ("recall@1", 0.699)
    ours = result["ours"]["recall@1"]
    assert figure["ours"] == ours
    assert ours["low"] <= ours["value"] <= ours["high"]
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["objective"]["terms"][0]["loss"]["alpha"] == 32
    again = reproduce("proxy_anchor", data, "--out", out, *TINY, "--quiet")
    assert (again.code, again.out) == (0, "")
    assert json.loads((out / "reproduced.json").read_text())["ours"] == result["ours"]
    other = reproduce("proxy_anchor", data, "--out", out)
    assert_refused(other, "out must be a new directory, or one of this very request")


def test_settings_of_one_set_are_taken_for_it_and_for_no_other(tmp_path):
    """Proxy-Anchor's README has a rate of its own for products; ISIC 2016 has two classes."""
    data, out = retrieval_sets.write_sop(tmp_path), tmp_path / "out"
    ended = reproduce("proxy_anchor", data, "--out", out, *TINY, "--quiet")
    assert ended.code == 0, ended.err
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert (config["optimiser"]["lr"], config["frozen_epochs"]) == (0.0006, 0)  # the last by --set
    assert load_paper("proxy_anchor", layout="cub200").run.optimiser.lr == 0.0001
    sampler = load_paper("demal_cnn", layout="isic-2016").run.sampler
    assert (sampler.classes_per_batch, sampler.per_class) == (2, 24)


@pytest.mark.plain
def test_settings_of_a_set_that_is_none_of_the_papers_are_refused():
    raw = configs.load("papers", "margin") | {"per_set": {"aid": ["epochs=2"]}}
    with pytest.raises(ValueError, match=r"per_set must be among layouts, cub200"):
        parse(PaperSpec, raw)


def test_a_student_learns_from_its_teacher(tmp_path):
    data, out = retrieval_sets.write_cub200(tmp_path), tmp_path / "out"
    paper = tmp_path / "small.yaml"
    raw = configs.load("papers", "rkd")
    small = {"epochs": 1, "workers": 0, "schedule": {"name": "constant"}}
    small["model"] = {"backbone": "resnet18", "image_size": 32, "embedding_dim": 8}
    small["sampler"] = {"name": "class_balanced", "classes_per_batch": 3, "per_class": 4}
    small["data"] = {"augmentation": None}
    for role in ("teacher", "run"):
        raw[role] |= small
    paper.write_text(yaml.safe_dump(raw))
    ended = reproduce(paper, data, "--out", out, "--quiet")
    assert ended.code == 0, ended.err
    assert (out / "teacher").is_dir()
    assert json.loads((out / "reproduced.json").read_text())["figures"] == []


def test_an_application_runs_its_own_commands(tmp_path):
    data, out = write_ucmerced(tmp_path, per_class=12), tmp_path / "out"
    ended = reproduce("gong2019", data, "--out", out, *TINY, *changes("data.val=0.25"))
    assert ended.code == 0, ended.err
    (figure,) = json.loads((out / "reproduced.json").read_text())["figures"]
    assert figure["measure"] == "classification.overall_accuracy"
    metrics = json.loads((out / "result" / "metrics.json").read_text())
    assert figure["ours"] == metrics["classification"]["overall_accuracy"]


def test_another_set_or_half_a_set_is_refused(tmp_path):
    out = tmp_path / "out"
    aid = write_aid(tmp_path / "aid", per_class=2)
    assert_refused(
        reproduce("proxy_anchor", aid, "--out", out),
        "data must be one of the sets of proxy_anchor, in the layout cub200",
        "got 'folder-per-class'",
        left=out,
    )
    birds = retrieval_sets.write_cub200(tmp_path)
    next(birds.glob("images/*/*.jpg")).unlink()
    ended = reproduce("proxy_anchor", birds, "--out", out)
    assert_refused(ended, "data must be as published", "1 errors", left=out)
    ended = reproduce("proxy_anker", birds, "--out", out)
    assert_refused(ended, "paper must be", "did you mean 'proxy_anchor'")
    twice = reproduce("proxy_anchor", birds, "--out", out, "--set", "epochs=1", "--set", "epochs=2")
    assert_refused(twice, "--set must be given once for each key", left=out)


def test_weight_imprinting_from_the_front_door(tmp_path):
    birds, out = retrieval_sets.write_cub200(tmp_path), tmp_path / "out"
    raw = configs.load("papers", "weight_imprinting")
    own = tmp_path / "few.yaml"
    own.write_text(yaml.safe_dump(raw | {"shots": [1, 2]}))
    ended = reproduce(str(own), birds, "--out", out, *TINY)
    assert ended.code == 0
    result = json.loads((out / "reproduced.json").read_text())
    figures = {one["measure"]: one for one in result["figures"]}
    assert len(figures) == 10
    assert figures["averaged.novel_accuracy@20"]["ours"] is None  # not shown so many
    ours = figures["averaged_tuned.novel_accuracy@2"]["ours"]
    runs = pd.read_csv(out / "result" / "runs.csv").set_index("method")
    assert ours["value"] == pytest.approx(runs.loc["averaged_tuned", "novel_accuracy@2"], abs=1e-6)
    assert figures["averaged_tuned.novel_accuracy@2"]["theirs"] == 0.3017
