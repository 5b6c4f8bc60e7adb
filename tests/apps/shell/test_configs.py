"""Configuration files: shipped ones that build, and `--set` on top of them."""

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from likeness.config import parse
from likeness.errors import UserError
from likeness.models import build_embedder
from likeness.objective import build_objective
from likeness.training.spec import RunSpec
from likeness_apps.cli import app
from likeness_apps.remote_sensing.domain import DOMAIN
from likeness_apps.shell.configs import load, names, read, shipped
from likeness_apps.skin_lesion.domain import DOMAIN as SKIN_LESION

APP = DOMAIN.folder
# Those of papers and of benchmarks are tested beside the commands that read them.
OTHERS = ("papers", "benchmark")
SHIPPED = [
    path for path in sorted(shipped("configs").rglob("*.yaml")) if path.parent.name not in OTHERS
]


def test_something_is_shipped():
    expected = {"center_structured", "cross_entropy", "demo", "smoke"}
    assert expected | {"multilabel_triplets", "eurosat_13band"} <= set(names(APP))
    assert DOMAIN.multilabel_config in names(APP)
    folders = [path.name for path in shipped("configs").iterdir() if path.name not in OTHERS]
    assert len(SHIPPED) == sum(map(len, map(names, folders)))
    assert DOMAIN.default_config in names(APP)
    lesions = {"attention_triplet", "cross_entropy", "focal", "demo", "smoke"}
    assert lesions <= set(names(SKIN_LESION.folder))
    assert SKIN_LESION.default_config in names(SKIN_LESION.folder)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_shipped_configuration_builds(path):
    spec = parse(RunSpec, load(path.parent.name, path.stem))
    embedder = build_embedder(spec.model, num_classes=3)
    term = spec.objective.classification
    multilabel = term is not None and term.name == "binary_cross_entropy"
    objective = build_objective(
        spec.objective,
        num_classes=3,
        dims=embedder.head_lengths,
        class_counts=[2, 3, 4],
        images=5 if multilabel else None,
        multilabel=multilabel,
        subclasses=None if spec.subclasses is None else spec.subclasses.most,
    )
    assert objective.terms or objective.classification is not None
    assert any(parameter.requires_grad for parameter in embedder.parameters())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_its_first_lines_say_how_to_run_it(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    words = shlex.split(lines[0].removeprefix("# "))
    assert words[:3] == ["likeness", path.parent.name.replace("_", "-"), "train"]
    group = typer.main.get_command(app)
    command = group.commands[words[1]].commands["train"]
    given = command.make_context("train", words[3:]).params
    assert given["config"] == path.stem
    assert given["out"] == Path("runs") / given["out"].name
    assert re.match(r"# Time: .*(second|minute|hour|day|\d s )", lines[1])
    assert re.match(r"# Expect: .{20}", lines[2])


def test_a_file_of_ones_own(tmp_path):
    (tmp_path / "own.yml").write_text("epochs: 3\nmodel: {backbone: resnet18}\n")
    assert load(APP, str(tmp_path / "own.yml")) == {"epochs": 3, "model": {"backbone": "resnet18"}}
    # A shipped name is no path, whatever lies in the folder.
    assert load(APP, "smoke")["epochs"] == 2


BASE = {
    "epochs": 2,
    "model": {"image_size": 32, "weights": None},
    "objective": {"terms": [{"loss": {"name": "a"}, "weight": 1.0}, {"loss": {"name": "b"}}]},
    "schedule": {"milestones": [1, 2, 3]},
}


@pytest.mark.parametrize(
    ("change", "where", "value"),
    [
        ("epochs=7", ["epochs"], 7),
        ("epochs= 7", ["epochs"], 7),
        ("model.image_size=64", ["model", "image_size"], 64),
        ("optimiser.lr=1e-3", ["optimiser", "lr"], "1e-3"),  # YAML 1.1 text; the spec reads it
        ("optimiser.lr=0.001", ["optimiser", "lr"], 0.001),
        ("data.protocol=null", ["data", "protocol"], None),
        ("data.protocol=", ["data", "protocol"], None),
        ("data.augmentation.flips=false", ["data", "augmentation", "flips"], False),
        ("schedule.milestones=[4, 5]", ["schedule", "milestones"], [4, 5]),
        ("schedule.milestones.1=9", ["schedule", "milestones"], [1, 9, 3]),
        ("objective.terms=[]", ["objective", "terms"], []),
        ("objective.terms.1.weight=0.5", ["objective", "terms", 1, "weight"], 0.5),
        ("objective.terms.0.loss.name=c", ["objective", "terms", 0, "loss", "name"], "c"),
        ("objective.terms.0={loss: {name: c}}", ["objective", "terms", 0], {"loss": {"name": "c"}}),
        ("model.weights.file=a", ["model", "weights", "file"], "a"),
        ("model.weights=a=b", ["model", "weights"], "a=b"),
    ],
)
def test_set(tmp_path, change, where, value):
    path = tmp_path / "base.yaml"
    path.write_text(yaml.safe_dump(BASE))
    found = load(APP, str(path), [change])
    for key in where:
        found = found[key]
    assert found == value
    assert read(path) == BASE


def test_changes_are_applied_in_order(tmp_path):
    path = tmp_path / "base.yaml"
    path.write_text(yaml.safe_dump(BASE))
    found = load(APP, str(path), ["schedule={name: step}", "schedule.gamma=0.5", "epochs=1"])
    assert found["schedule"] == {"name": "step", "gamma": 0.5}
    assert found["epochs"] == 1
    assert found["model"] == BASE["model"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("epochs", "--set must be KEY=VALUE, got 'epochs'"),
        (" =1", "--set must be KEY=VALUE, got ' =1'"),
        ("epochs={", "--set must have a YAML value after '=', got 'epochs={'"),
        (
            "epochs.x=1",
            "--set must name a key inside a group, got 'epochs.x': 'epochs' is a value",
        ),
        (
            "schedule.milestones.0.x=1",
            "--set must name a key inside a group, got 'schedule.milestones.0.x': '0' is a value",
        ),
        (
            "schedule.milestones.3=1",
            "--set schedule.milestones.3 must name a place of the list (from 0 to 2), got '3'",
        ),
        (
            "schedule.milestones.-1=1",
            "--set schedule.milestones.-1 must name a place of the list (from 0 to 2), got '-1'",
        ),
        (
            "objective.terms.first.weight=1",
            "--set objective.terms.first.weight must name a place of the list (from 0 to 1), "
            "got 'first'",
        ),
    ],
)
def test_changes_that_cannot_be_made(tmp_path, change, sentence):
    path = tmp_path / "base.yaml"
    path.write_text(yaml.safe_dump(BASE))
    with pytest.raises(UserError) as caught:
        load(APP, str(path), [change])
    assert str(caught.value) == sentence


def test_a_key_is_changed_once():
    with pytest.raises(UserError, match=r"^--set must be given once for each key, got epochs=2 "):
        load(APP, "smoke", ["epochs=1", "seed=3", " epochs=2"])


def test_an_empty_list_has_no_place(tmp_path):
    path = tmp_path / "base.yaml"
    path.write_text("terms: []\n")
    with pytest.raises(UserError, match="none, it is empty"):
        load(APP, str(path), ["terms.0=1"])


def test_unknown_names(tmp_path):
    with pytest.raises(
        UserError, match=r"got 'center_structure'; did you mean 'center_structured'"
    ):
        load(APP, "center_structure")
    with pytest.raises(UserError, match=r"^paper must be a YAML file or one of the known names,"):
        load(APP, "Two heads", called="paper")
    with pytest.raises(UserError, match=r"one of .*smoke.*, got '.*nowhere.yaml'$"):
        load(APP, str(tmp_path / "nowhere.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(UserError, match=r"got '.*folder.yaml'$"):
        load(APP, str(tmp_path / "folder.yaml"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "config must be a mapping of keys, got NoneType"),
        (b"- 1\n", "config must be a mapping of keys, got list"),
        (b"a: [\n", "config must be a readable YAML file"),
        (b"\xff\xfe", "config must be a readable YAML file"),
        (b"a: !!python/name:os.system ''\n", "config must be a readable YAML file"),
    ],
)
def test_files_that_are_none(tmp_path, content, sentence):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
