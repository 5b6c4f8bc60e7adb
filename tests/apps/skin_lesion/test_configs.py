"""The shipped configurations do what their first lines say about rare classes."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from likeness.config import parse
from likeness.sampling import build_plan
from likeness.training.spec import RunSpec
from likeness_apps.shell import configs
from likeness_apps.shell.adapt import adapt
from likeness_apps.shell.configs import names
from likeness_apps.skin_lesion.domain import DOMAIN

BALANCED = ("attention_triplet", "smoke", "demo")
# Images per class of sets with 2, 3, 7 (as HAM10000) and 8 classes, made smaller.
SIZES = [(30, 300), (38, 25, 137), (13, 14, 33, 51, 110, 111, 670), (20, 9, 40, 80, 30, 9, 9, 400)]


def fitted(name, label_N):
    raw = configs.load(DOMAIN.folder, name)
    labels = SimpleNamespace(classes=[str(number) for number in np.unique(label_N)])
    manifest = SimpleNamespace(rows=lambda split: pd.DataFrame({"label": label_N.astype(str)}))
    prepared = SimpleNamespace(bands=3, labels=labels, manifest=manifest)
    return adapt(parse(RunSpec, raw), prepared, raw=raw, config=name, changes=(), quiet=True)


@pytest.mark.parametrize("sizes", SIZES, ids=len)
@pytest.mark.parametrize("name", BALANCED)
def test_every_class_is_drawn_equally_often(name, sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    plan = build_plan(fitted(name, labels).sampler, labels, seed=0)
    for batch in plan.batches(3):
        drawn = np.bincount(labels[batch], minlength=len(sizes))
        assert drawn.min() == drawn.max() >= 2


@pytest.mark.parametrize("name", names(DOMAIN.folder))
def test_a_rare_class_is_made_up_for_once(name):
    spec = parse(RunSpec, configs.load(DOMAIN.folder, name))
    chosen = spec.objective.classification
    balanced = spec.sampler.name == "class_balanced"
    assert balanced + (chosen.class_weights == "balanced") + (chosen.name == "focal") == 1
    assert spec.monitor == "average_accuracy"  # accuracy would choose the nevi's best epoch


@pytest.mark.parametrize("name", BALANCED)
def test_triplets_are_of_other_lesions_and_on_the_unit_sphere(name):
    objective = parse(RunSpec, configs.load(DOMAIN.folder, name)).objective
    assert objective.exclude_groups
    (term,) = objective.terms
    loss, (miner,) = term.loss, term.miners
    assert (loss.name, loss.margin, loss.squared, loss.space) == ("triplet", 0.5, True, "cosine")
    assert (term.weight, objective.classification.weight) == (1.0, 1.0)
    assert miner.name == "class_balanced_triplets"
