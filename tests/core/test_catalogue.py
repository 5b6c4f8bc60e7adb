"""The catalogue: every part of every union is in it, described by its own docstring."""

from __future__ import annotations

import pytest

from likeness.catalogue import PLACES, find, parts, specs
from likeness.docstrings import citations
from likeness.errors import UserError
from likeness.objective.specs import TermSpec

# Groups of options that hold parts, or have nothing to do with methods.
NO_PARTS = {
    *("model", "objective", "optimiser", "schedule", "data"),
    *("objective.terms", "objective.regularisers", "objective.distillation"),
    *("objective.sets", "objective.sets.terms", "objective.sets.classification"),
    *("objective.terms.weight", "data.augmentation", "data.steps"),
    *("data.augmentation.pad_crop", "data.augmentation.random_erasing"),
}


def test_every_group_of_options_is_a_part_or_known_to_be_none():
    """A new place in a configuration must be put into `PLACES` (or, rarely, above)."""
    places = {place for place, _ in specs()}
    assert places - NO_PARTS - set(PLACES) == set()


def test_every_part_is_described():
    """A new spec must name its object (See `X`.), and that must have a docstring."""
    described = parts()
    assert len(described) == sum(place in PLACES for place, _ in specs())
    for part in described:
        assert part.summary, part.title
        assert part.objects, part.title
        assert part.status != "ours" or not part.doubts, part.title
    names = [(part.kind, name) for part in described for name in part.names]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "kind", "paper", "status"),
    [
        ("margin", "loss", "Wu et al., ICCV 2017", "confirmed"),
        ("n_pair", "loss", "Sohn, NIPS 2016", "in part"),  # an option's default
        ("centre_structured", "loss", "Gong et al. 2019", "reconstruction"),
        ("margin_discriminate", "loss", "Sun, Tang, Bai, S+SSPR 2018", "reconstruction"),
        ("contrastive_bayesian", "loss", "Kan et al., TPAMI 2022", "in part"),
        ("informative_triplets", "miner", "Sumbul et al. 2021", "in part"),
        ("class_balanced_triplets", "miner", "He et al. 2022", "reconstruction"),
        ("attention_options", "network part", "He et al. 2022", "reconstruction"),
        ("self_paced", "loss", "Zhang, Luo, Gu, AAAI 2023", "reconstruction"),
        ("self_paced", "miner", "Zhang, Luo, Gu, AAAI 2023", "in part"),
        ("self_paced", "rounds", "Zhang, Luo, Gu, AAAI 2023", "in part"),
        ("subclasses", "rounds", "Marrero Fernandez et al., arXiv 2001.06612", "in part"),
        (
            *("alternating_projections", "training method"),
            *("Can, Gurbuz, Alatan, ICIP 2021", "in part"),
        ),
        ("focal", "classification", "Lin et al., ICCV 2017", "confirmed"),
        ("clips", "sampler", "Wang et al. 2019", "confirmed"),
    ],
)
def test_what_some_parts_say(name, kind, paper, status):
    (part,) = (one for one in find(name) if one.kind == kind)
    assert paper in part.papers
    assert part.status == status


def test_options_with_ranges_and_defaults():
    (margin,) = find("margin")
    told = {option.name: (option.default, option.allowed) for option in margin.options}
    assert told["margin"] == ("0.2", "number >= 0")
    assert told["boundary"] == ("class", "class, global, fixed")
    assert "name" not in told
    assert all(option.meaning for option in margin.options)
    (rounds,) = find("subclasses")
    assert rounds.options[0].default == "required"


def test_one_name_may_be_two_parts():
    assert {part.kind for part in find("multi_similarity")} == {"loss", "miner"}
    with pytest.raises(UserError, match=r"got 'margim'; did you mean 'margin'"):
        find("margim")


def test_walks_into_terms():
    assert TermSpec in {spec for _, spec in specs()}


@pytest.mark.parametrize(
    ("text", "papers"),
    [
        ("The loss of Song et al., CVPR 2016, smooth.", ("Song et al., CVPR 2016",)),
        ("(Wang, MM 2017; Zhai & Wu, BMVC 2019).", ("Wang, MM 2017", "Zhai & Wu, BMVC 2019")),
        ("as in code of 2020, and N = 2048 rows", ()),
        ("Marrero et al., arXiv 2001.06612", ("Marrero et al., arXiv 2001.06612",)),
    ],
)
def test_papers_are_found_in_prose(text, papers):
    assert citations(text) == papers
