"""What the data decide about a configuration, and what the person decides."""

import pytest

from fixtures.scenes import texture, write_folders, write_geotiff
from likeness.config import parse
from likeness.errors import UserError
from likeness.sampling import build_plan
from likeness.training.spec import DataSpec, RunSpec
from likeness_apps.remote_sensing.domain import DOMAIN
from likeness_apps.shell import configs
from likeness_apps.shell.adapt import adapt, fit_warmup
from likeness_apps.shell.data import prepare


def adapted(prepared, *changes, config=None, name="center_structured"):
    raw = configs.load(DOMAIN.folder, name, changes)
    return adapt(parse(RunSpec, raw), prepared, raw=raw, config=config, changes=changes)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    data = write_folders(tmp_path_factory.mktemp("d"), classes=("a", "b", "c"), per_class=10)
    return prepare(DOMAIN, data, DataSpec(), seed=0, quiet=True)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    data = write_folders(tmp_path_factory.mktemp("m"), classes=("a", "b", "c"), per_class=34)
    return prepare(DOMAIN, data, DataSpec(), seed=0, quiet=True)


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    top = tmp_path_factory.mktemp("deep")
    for kind, name in enumerate(("lake", "town")):
        for number in range(10):
            image = texture(kind, number, bands=4, dtype="uint16")
            write_geotiff(top / name / f"{number}.tif", image)
    return prepare(DOMAIN, top, DataSpec(), seed=0, quiet=True)


@pytest.mark.parametrize("name", configs.names(DOMAIN.folder))
def test_every_shipped_configuration_runs_on_few_classes(three, name):
    spec = adapted(three, "model.bands=3", name=name)  # one configuration asks for 13
    plan = build_plan(spec.sampler, three.targets("train"), seed=0)
    assert plan.batches(0)


def test_a_batch_keeps_its_size(many, capsys):
    spec = adapted(many)
    assert (spec.sampler.classes_per_batch, spec.sampler.per_class) == (3, 21)  # 64 were 16 x 4
    printed = capsys.readouterr().out
    assert "sampler.classes_per_batch=3 instead of 16" in printed
    assert "sampler.per_class=21 instead of 4" in printed


def test_a_batch_has_no_more_of_a_class_than_there_are(three, capsys):
    smallest = three.manifest.rows("train")["label"].value_counts().min()
    assert 4 < smallest < 21
    for sampler in ("class_balanced", "hard_classes", "representatives"):
        raw = configs.load(DOMAIN.folder, "center_structured")
        raw["sampler"] = {"name": sampler, "classes_per_batch": 16, "per_class": 4}
        fitted = adapt(parse(RunSpec, raw), three, raw=raw, config=None, changes=()).sampler
        assert (fitted.classes_per_batch, fitted.per_class) == (3, smallest)
    capsys.readouterr()
    raw["sampler"]["per_class"] = 9  # what is asked for of each class is not made less
    assert (
        adapt(parse(RunSpec, raw), three, raw=raw, config=None, changes=()).sampler.per_class == 9
    )
    printed = capsys.readouterr().out
    assert printed == "The data have 3 classes: sampler.classes_per_batch=3 instead of 16\n"


def test_what_the_person_wrote_is_not_changed(three, capsys):
    spec = adapted(three, "sampler.classes_per_batch=9")
    assert spec.sampler.classes_per_batch == 9
    spec = adapted(three, "sampler={name: class_balanced, classes_per_batch: 9}")
    assert spec.sampler.classes_per_batch == 9
    assert adapted(three, config="own.yaml").sampler.classes_per_batch == 16
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match=r"classes_per_batch must be in \[1, 3\]"):
        build_plan(spec.sampler, three.targets("train"), seed=0)


def test_enough_classes_change_nothing(three, capsys):
    own = "sampler={name: class_balanced, classes_per_batch: 3, per_class: 2}"
    assert adapted(three, own).sampler.per_class == 2
    assert adapted(three, name="cross_entropy").sampler.name == "shuffled"
    assert capsys.readouterr().out == ""


def test_bands_are_those_of_the_images_unless_given(three, deep):
    assert adapted(deep).model.bands == 4
    assert adapted(three).model.bands == 3
    assert adapted(deep, "model.bands=4").model.bands == 4
    with pytest.raises(UserError, match=r"model.bands must be the images' 4, got 3"):
        adapted(deep, "model.bands=3")


def with_epochs(epochs, *changes, config=None):
    raw = configs.load(DOMAIN.folder, "center_structured", [f"epochs={epochs}", *changes])
    return parse(RunSpec, fit_warmup(raw, config=config, changes=changes))


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0.5), (2, 1.0), (3, 3.0), (20, 3.0)])
def test_a_short_trial_has_a_short_warmup(capsys, epochs, warmup):
    assert with_epochs(epochs).schedule.warmup_epochs == warmup
    told = f"schedule.warmup_epochs={warmup:g} instead of 3"
    assert (told in capsys.readouterr().out) == (epochs < 3)


def test_a_warmup_that_the_person_wrote_is_not_changed():
    for words in ({"config": "own.yaml"}, {}):
        changes = () if words else ("schedule.warmup_epochs=3",)
        with pytest.raises(UserError, match=r"warmup_epochs must be <= epochs, 1, got 3\.0"):
            with_epochs(1, *changes, **words)
