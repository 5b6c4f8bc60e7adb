import math

import pytest

from likeness.config import parse
from likeness.errors import UserError
from likeness.sampling import ClassBalancedSpec
from likeness.training import RunSpec
from likeness.training.spec import AdamWSpec, CosineSpec

LEAST = {
    "epochs": 2,
    "model": {"backbone": "resnet18", "image_size": 64},
    "sampler": {"name": "class_balanced", "classes_per_batch": 8},
    "optimiser": {"name": "adamw", "lr": 0.001},
}


def test_defaults():
    spec = parse(RunSpec, LEAST)
    assert spec.sampler == ClassBalancedSpec(classes_per_batch=8, per_class=4)
    assert spec.optimiser == AdamWSpec(lr=0.001)
    assert spec.schedule == CosineSpec()
    assert spec.data.augmentation is not None


def test_a_size_of_height_and_width_reads_back():
    upright = {
        "model": {"backbone": "resnet18", "image_size": [32, 16]},
        "data": {"augmentation": {"rotate90": False, "pad_crop": {}, "random_erasing": {}}},
    }
    spec = parse(RunSpec, {**LEAST, **upright})
    assert spec.model.height_width == (32, 16)
    assert parse(RunSpec, spec.model_dump(mode="json")) == spec


def test_what_is_written_out_reads_back():
    spec = parse(RunSpec, {**LEAST, "schedule": {"name": "step", "milestones": [1, 2]}})
    assert parse(RunSpec, spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"epochs": 0}, r"config\.epochs must be .*1, got 0"),
        ({"epochs": math.nan}, r"config\.epochs must be"),
        ({"seed": -1}, r"config\.seed must be .*0, got -1"),
        ({"clip_norm": 0}, r"config\.clip_norm must be .*0, got 0"),
        ({"clip_norm": math.nan}, r"config\.clip_norm must be"),
        ({"patience": 0}, r"config\.patience must be .*1, got 0"),
        ({"monitor": "acuracy"}, r"config\.monitor must be 'accuracy', 'average_accuracy', "),
        ({"monitor": None, "patience": 2}, r"config\.patience must be null where monitor is null"),
        ({"precision": "16"}, r"config\.precision must be '32-true' or 'bf16-mixed', got '16'"),
        ({"workers": -1}, r"config\.workers must be .*0, got -1"),
        ({"grad_cache": 0}, r"config\.grad_cache must be .*1, got 0"),
        ({"checkpoint_minutes": 0}, r"config\.checkpoint_minutes must be .*0, got 0"),
        ({"epoch": 3}, r"config\.epoch must be a known key, .*did you mean 'epochs'"),
        ({"optimiser": {"name": "sgd"}}, r"config\.optimiser\.lr must be given, got nothing"),
        ({"optimiser": {"name": "sgd", "lr": 0}}, r"config\.optimiser\.lr must be .*0, got 0"),
        (
            {"optimiser": {"name": "adamw", "lr": 1, "momentum": 0.9}},
            r"config\.optimiser\.momentum must be a known key",
        ),
        ({"optimiser": {"name": "adam", "lr": 1}}, r"config\.optimiser\.name must be one of"),
        (
            {"optimiser": {"name": "sgd", "lr": 1, "momentum": 0, "nesterov": True}},
            r"^config\.optimiser\.momentum must be > 0 where nesterov is on, got 0\.0$",
        ),
        ({"schedule": {"name": "step", "milestones": []}}, r"schedule\.milestones must be"),
        ({"schedule": {"name": "step", "milestones": [0]}}, r"schedule\.milestones.* must be"),
        (
            {"schedule": {"name": "cosine", "warmup_epochs": 3}},
            r"^config\.schedule\.warmup_epochs must be <= epochs, 2, got 3\.0$",
        ),
        ({"data": {"test": 0.5, "val": 0.5}}, r"^config\.data\.test \+ val must be < 1, got 1\.0$"),
        (
            {"model": {"backbone": "resnet18", "image_size": [32, 16]}},
            r"^config\.data\.augmentation\.rotate90 must be false for images of 32 x 16 pixels, ",
        ),
        (
            {"data": {"augmentation": {"pad_crop": {"pixels": 64}}}},
            r"^config\.data\.augmentation\.pad_crop\.pixels must be < 64 for .* 64 pixels, got 64$",
        ),
        *[
            ({"data": {"bands": bands}}, rf"^config\.data\.bands must be a list of .*, got {got}$")
            for bands, got in (([True], r"\[True\]"), ([1.5], r"\[1\.5\]"), ([], r"\[\]"), (4, "4"))
        ],
    ],
)
def test_mistakes_are_named(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        parse(RunSpec, {**LEAST, **changes})


def of_batches(classes, each, **term):
    sampler = {"name": "class_balanced", "classes_per_batch": classes, "per_class": each}
    loss = {"loss": {"name": "triplet"}, **term}
    return {"sampler": sampler, "objective": {"terms": [loss]}}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (of_batches(1, 8), r"sampler\.classes_per_batch must be >= 2 for triplet, .*, got 1$"),
        (of_batches(8, 1), r"sampler\.per_class must be >= 2 for triplet, .*, got 1$"),
        (
            {
                "objective": {
                    "classification": None,
                    "terms": of_batches(8, 4, weight=0)["objective"]["terms"],
                }
            },
            r"objective\.weight must be above 0 for one of the parts, got 0",
        ),
        (
            {**of_batches(8, 4), "method": {"name": "two_stage"}},
            r"method\.metric_epochs \+ method\.generator_epochs must be < epochs, 2, .*, got 10$",
        ),
        (
            {
                "sampler": {"name": "representatives", "epochs_per_round": 2},
                "method": {"name": "alternating_projections", "epochs_per_round": 2},
            },
            r"method\.epochs_per_round must be < epochs, 2, for a second round, got 2$",
        ),
        (
            {
                **of_batches(8, 4, labels="subclass"),
                "subclasses": {"epochs_per_round": 2},
            },
            r"subclasses\.epochs_per_round must be < epochs, 2, .*, got 2$",
        ),
    ],
)
def test_what_would_learn_nothing_or_never_begin_is_refused(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        parse(RunSpec, {**LEAST, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        of_batches(8, 1, memory={"size": 64}),
        {
            "sampler": of_batches(8, 1)["sampler"],
            "objective": {"terms": [{"loss": {"name": "proxy_nca"}}]},
        },
        of_batches(8, 4, weight={"start": 0, "end": 1, "epochs": 1}),
    ],
)
def test_what_has_pairs_from_elsewhere_or_needs_none_is_not(changes):
    parse(RunSpec, {**LEAST, **changes})
