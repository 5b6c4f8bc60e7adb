"""Strict configuration: every refusal names the full path, the rule and the value."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, model_validator

from likeness.config import Spec, parse
from likeness.errors import UserError, require


class Contrastive(Spec):
    name: Literal["contrastive"] = "contrastive"
    margin: float = Field(default=0.5, ge=0)


class Triplet(Spec):
    name: Literal["triplet"] = "triplet"
    margin: float = Field(default=0.2, ge=0)
    triplet: int = 1  # a field that is called like a tag


Loss = Annotated[Contrastive | Triplet, Field(discriminator="name")]


class Term(Spec):
    loss: Loss
    weight: float = 1.0


class Model(Spec):
    backbone: Literal["small", "large"]
    size: int = Field(default=64, ge=16)

    @model_validator(mode="after")
    def _together(self) -> "Model":
        large = self.backbone == "large"
        require(not (large and self.size < 32), "size", ">= 32 for large", self.size)
        return self


class Decay(Spec):
    start: float = Field(ge=0)


class Run(Spec):
    model: Model
    decay: Annotated[float, Field(ge=0)] | Decay = 1.0
    terms: list[Term] = Field(default_factory=list, max_length=3)
    loss: Loss = Contrastive()
    devices: int | Literal["auto"] = "auto"
    rates: dict[str, float] = Field(default_factory=dict)
    word: str = Field(default="a", pattern="^a")
    limit: float | None = None
    factors: tuple[float, ...] | float = 1.0


GOOD = {"model": {"backbone": "small"}}


def test_good_configuration_is_read():
    run = parse(Run, {**GOOD, "terms": [{"loss": {"name": "triplet", "margin": 1}, "weight": 2}]})
    assert isinstance(run.terms[0].loss, Triplet)
    assert (run.terms[0].loss.margin, run.terms[0].weight, run.model.size) == (1.0, 2.0, 64)


def test_what_was_read_cannot_be_changed():
    run = parse(Run, GOOD)
    with pytest.raises(ValueError, match="frozen"):
        run.devices = 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"modle": 1}, "config.modle must be a known key, got 1; did you mean 'model'? Known: dec"),
        (
            {"zzz": 1},
            "config.zzz must be a known key, got 1; Known: decay, devices, factors, limit",
        ),
        ({"model": {}}, "config.model.backbone must be given, got nothing"),
        (  # missing and misspelt at once: the misspelling is the news
            {"model": {"bakbone": "small"}},
            "config.model.bakbone must be a known key, got 'small'; did you mean 'backbone'? "
            "Known: backbone, size",
        ),
        (
            {"model": {"backbone": "tiny"}},
            "config.model.backbone must be 'small' or 'large', got 'tiny'",
        ),
        (
            {"model": {"backbone": "small", "size": 8}},
            "config.model.size must be greater than or equal to 16, got 8",
        ),
        (
            {"model": {"backbone": "small", "size": "big"}},
            "config.model.size must be a valid integer, unable to parse string as an integer, "
            "got 'big'",
        ),
        (  # a validator's own sentence keeps its name and value
            {"model": {"backbone": "large", "size": 16}},
            "config.model.size must be >= 32 for large, got 16",
        ),
        (
            {"loss": {"name": "triplet", "marign": 1}},
            "config.loss.marign must be a known key, got 1; did you mean 'margin'? "
            "Known: margin, name, triplet",
        ),
        (
            {"loss": {"name": "triplet", "triplet": "x"}},
            "config.loss.triplet must be a valid integer, unable to parse string as an integer, "
            "got 'x'",
        ),
        (
            {"terms": [{"loss": {"name": "triplet", "margin": -1}}]},
            "config.terms.0.loss.margin must be greater than or equal to 0, got -1",
        ),
        (
            {"loss": {"name": "tripelt"}},
            "config.loss.name must be one of the known names, got 'tripelt'; "
            "did you mean 'triplet'?",
        ),
        (
            {"loss": {"name": "Contrastive "}},
            "config.loss.name must be one of the known names, got 'Contrastive '; "
            "did you mean 'contrastive'?",
        ),
        (
            {"loss": {"name": "zzz"}},
            "config.loss.name must be one of 'contrastive', 'triplet', got 'zzz'",
        ),
        ({"loss": {"margin": 1}}, "config.loss.name must be given, got {'margin': 1}"),
        (
            {"devices": "many"},
            "config.devices must be a valid integer, unable to parse string as an integer or "
            "'auto', got 'many'",
        ),
        (
            {"rates": {"head": "fast"}},
            "config.rates.head must be a valid number, unable to parse string as a number, "
            "got 'fast'",
        ),
        ({"limit": float("nan")}, "config.limit must be a finite number, got nan"),
        ({"limit": float("inf")}, "config.limit must be a finite number, got inf"),
        ({"model": None}, "config.model must be a mapping of keys to values, got None"),
        (  # neither the names of pydantic's types nor of our classes are keys
            {"decay": -1},
            "config.decay must be greater than or equal to 0 or a mapping of keys to values, "
            "got -1",
        ),
        ({"decay": {"start": -1}}, "config.decay.start must be greater than or equal to 0, got -1"),
        (
            {"decay": {"strat": 1}},
            "config.decay.strat must be a known key, got 1; did you mean 'start'? Known: start",
        ),
        (
            {"factors": [1, "x"]},
            "config.factors.1 must be a valid number, unable to parse string as a number, got 'x'",
        ),
        ({"word": "b"}, "config.word must be a string matching pattern '^a', got 'b'"),
        (
            {"terms": [{"loss": {"name": "triplet"}}] * 4},
            "config.terms must be a list with at most 3 items after validation, not 4, got [{",
        ),
        ({"terms": {"a": 1}}, "config.terms must be a valid list, got {'a': 1}"),
    ],
)
def test_refusals(change, sentence):
    with pytest.raises(UserError) as caught:
        parse(Run, {**GOOD, **change})
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("empty", [None, [], "model: x", 3])
def test_what_is_no_mapping_is_refused(empty):
    with pytest.raises(UserError, match="config must be a mapping of keys to values, got"):
        parse(Run, empty)


def test_a_key_that_is_no_text_is_refused():
    with pytest.raises(UserError, match=r"config\.1 must be .*, got"):
        parse(Run, {**GOOD, 1: 2})


def test_the_root_has_the_name_that_is_asked_for():
    with pytest.raises(UserError, match=r"^preset\.model must be given, got nothing$"):
        parse(Run, {}, "preset")


def test_plain_pydantic_models_and_messages_work_too():
    class Plain(BaseModel):
        count: int

        @model_validator(mode="after")
        def _odd(self) -> "Plain":
            if self.count % 2 == 0:
                raise ValueError("such that count is odd")
            return self

    with pytest.raises(UserError, match=r"^config must be such that count is odd, got \{'count'"):
        parse(Plain, {"count": 2})


def test_require_refuses_nan_and_prints_the_value():
    margin = float("nan")
    with pytest.raises(UserError, match=r"^margin must be >= 0, got nan$"):
        require(margin >= 0, "margin", ">= 0", margin)
    require(0 >= 0, "margin", ">= 0", 0)
    assert issubclass(UserError, ValueError)
