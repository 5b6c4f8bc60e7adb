"""From plain data to losses, and back to a sentence where that fails."""

from __future__ import annotations

import inspect
from typing import get_args

import pytest
import torch

from likeness.config import Spec, parse
from likeness.errors import UserError
from likeness.losses import (
    FocalLoss,
    MultiLabelClassificationLoss,
    PairLoss,
    build_classification,
    build_loss,
)
from likeness.losses.factory import ClassificationSpec, check_labels
from likeness.losses.specs import AnyLossSpec, LossSpec

SPECS = get_args(AnyLossSpec)
NAMES = {spec.model_fields["name"].default: spec for spec in SPECS}


class Root(Spec):
    """A configuration with a loss in it."""

    loss: LossSpec


@pytest.mark.parametrize("name", NAMES)
def test_every_name_builds_a_loss_that_trains(name: str) -> None:
    spec = parse(Root, {"loss": {"name": name}}).loss
    assert type(spec) is NAMES[name]
    loss = build_loss(spec, num_classes=3, dim=4)
    assert isinstance(loss, PairLoss)
    assert loss.space == spec.space == loss.spaces[0]
    x = torch.randn(9, 4, requires_grad=True)
    loss(x, torch.arange(9) % 3).backward()
    assert x.grad.abs().max() > 0


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.__name__)
def test_the_defaults_are_the_losses_own(spec: type[Spec]) -> None:
    loss = build_loss(spec(), num_classes=3, dim=4)
    written = {name: field.default for name, field in spec.model_fields.items() if name != "name"}
    parameters = inspect.signature(type(loss).__init__).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert written.pop("space") == type(loss).spaces[0]
    assert defaults.pop("space") is None
    assert written == defaults


def test_options_reach_the_loss() -> None:
    plain = {"name": "centre_structured", "centres": "ema", "delta": 0.7, "space": "euclidean"}
    loss = build_loss(parse(Root, {"loss": plain}).loss, num_classes=6, dim=5)
    assert (loss.centres.mode, loss.delta, loss.space) == ("ema", 0.7, "euclidean")
    assert loss.centres.bank.weight.shape == (6, 5)


def test_a_margin_loss_without_boundaries_of_classes_fits_several_labels() -> None:
    plain = {"name": "margin", "boundary": "global", "beta": 0.9}
    spec = parse(Root, {"loss": plain}).loss
    check_labels([spec], None, multilabel=True)
    assert build_loss(spec, num_classes=3, dim=4).beta.shape == ()
    whole = parse(Root, {"loss": {"name": "margin"}}).loss
    assert build_loss(whole, num_classes=3, dim=4).beta.shape == (3,)
    with pytest.raises(UserError, match="for several labels per image, got 'margin'"):
        check_labels([whole], None, multilabel=True)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"name": "triplett"}, "config.loss.name must be .*, got 'triplett'; did .* 'triplet'"),
        ({"name": "zzzz"}, "config.loss.name must be one of .*'triplet'.*, got 'zzzz'"),
        ({"name": "triplet", "marign": 0.2}, "config.loss.marign .*did you mean 'margin'"),
        ({"name": "triplet", "margin": -1}, "config.loss.margin must be greater than or equal"),
        ({"name": "triplet", "margin": float("nan")}, "config.loss.margin must be a finite"),
        ({"name": "contrastive", "space": "dot"}, "config.loss.space must be 'cosine' or"),
        (
            {"name": "weighted_contrastive", "variant": "port"},
            "config.loss.variant must be 'paper' or 'caffe', got 'port'",
        ),
    ],
)
def test_mistakes_are_named_with_their_path(loss: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(Root, {"loss": loss})


def test_options_that_contradict_each_other_are_refused() -> None:
    spec = parse(
        Root,
        {"loss": {"name": "centre_structured", "between": "neg_variance", "space": "euclidean"}},
    ).loss
    with pytest.raises(UserError, match="between must be 'hinge' unless the space is cosine"):
        build_loss(spec, num_classes=3, dim=4)


def test_classification() -> None:
    spec = ClassificationSpec(label_smoothing=0.1, class_weights="balanced")
    loss = build_classification(spec, counts=[1, 3])
    assert loss.label_smoothing == 0.1
    assert loss.weight_C.tolist() == pytest.approx([2.0, 2 / 3])
    with pytest.raises(UserError, match="counts must be given"):
        build_classification(spec)


def test_weights_by_confidence() -> None:
    spec = ClassificationSpec(confidence_sigma=0.18)
    assert build_classification(spec).confidence_sigma == 0.18
    assert build_classification(ClassificationSpec()).confidence_sigma is None
    assert ClassificationSpec(**spec.model_dump()) == spec  # as a resolved configuration


def test_focal() -> None:
    loss = build_classification(ClassificationSpec(name="focal", gamma=1.5))
    assert isinstance(loss, FocalLoss)
    assert (loss.gamma, loss.weight_C) == (1.5, None)
    spec = ClassificationSpec(name="focal", class_weights="balanced")
    loss = build_classification(spec, counts=[1, 3])
    assert loss.gamma == FocalLoss().gamma == 2.0
    assert loss.weight_C.tolist() == pytest.approx([2.0, 2 / 3])
    assert ClassificationSpec(**spec.model_dump()) == spec  # as a resolved configuration
    check_labels([], spec, multilabel=False)
    with pytest.raises(UserError, match=r"must be 'binary_cross_entropy' for several .*'focal'"):
        check_labels([], spec, multilabel=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 2.0}, r"config.gamma must be left out for cross_entropy, got 2\.0"),
        ({"name": "focal", "label_smoothing": 0.1}, "config.label_smoothing must be 0 for focal"),
        ({"name": "focal", "gamma": -1.0}, "config.gamma must be greater than or equal to 0"),
        (
            {"name": "focal", "confidence_sigma": 0.18},
            r"config.confidence_sigma must be left out for focal, got 0\.18",
        ),
        (
            {"name": "binary_cross_entropy", "confidence_sigma": 0.18},
            "config.confidence_sigma must be left out for binary_cross_entropy",
        ),
        ({"confidence_sigma": 0.0}, "config.confidence_sigma must be greater than 0"),
    ],
)
def test_options_of_another_classification_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(ClassificationSpec, options)


def test_classification_of_several_labels() -> None:
    spec = ClassificationSpec(
        name="binary_cross_entropy", label_smoothing=0.1, class_weights="balanced"
    )
    loss = build_classification(spec, counts=[1, 3], images=4)
    assert isinstance(loss, MultiLabelClassificationLoss)
    assert loss.label_smoothing == 0.1
    assert loss.weight_L.tolist() == pytest.approx([3.0, 1 / 3])
    with pytest.raises(UserError, match="counts must be given"):
        build_classification(spec, counts=[1, 3])


def test_losses_that_do_not_fit_the_labels_are_named() -> None:
    softmax, binary = ClassificationSpec(), ClassificationSpec(name="binary_cross_entropy")
    pairwise, centre = (parse(Root, {"loss": {"name": n}}).loss for n in ("triplet", "centre"))
    check_labels([pairwise, centre], softmax, multilabel=False)
    check_labels([pairwise], binary, multilabel=True)
    check_labels([pairwise], None, multilabel=True)
    message = "classification.name must be 'binary_cross_entropy' for several labels per image"
    with pytest.raises(UserError, match=f"{message}, got 'cross_entropy'"):
        check_labels([], softmax, multilabel=True)
    message = "classification.name must be 'cross_entropy' or 'focal' for one class per image"
    with pytest.raises(UserError, match=f"{message}, got 'binary_cross_entropy'"):
        check_labels([], binary, multilabel=False)
    message = r"loss must be one without a centre or a proxy per class for several .*got 'centre'"
    with pytest.raises(UserError, match=message):
        check_labels([pairwise, centre], binary, multilabel=True)
