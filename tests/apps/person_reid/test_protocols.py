"""The named protocols against golden figures: torchreid's, and the official MARS rules'."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "benchmarks"))
import query_gallery_golden as golden  # noqa: E402
from likeness.errors import UserError  # noqa: E402
from likeness.evaluation.resampling import Bootstrap  # noqa: E402
from likeness_apps.person_reid.layouts import folders, images, mars, two_cameras  # noqa: E402
from likeness_apps.person_reid.protocols import PROTOCOLS, protocol_named  # noqa: E402
from likeness_apps.person_reid.scoring import score_tracklets  # noqa: E402

FEW = Bootstrap(replicates=20)


def recorded(protocol: str) -> dict:
    return json.loads((golden.GOLDEN / f"{protocol}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_has_golden_figures_and_words(protocol: str) -> None:
    record = recorded(protocol)
    draw, settings = golden.SETS[protocol]
    assert (record["drawn_by"], record["settings"]) == (draw.__name__, settings)
    stated = protocol_named(protocol).stated()
    assert stated["protocol"] == protocol
    assert len(stated["protocol_source"]) > 60
    assert all(stated["protocol_text"].values())


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "mars-official"])
def test_figures_are_those_of_torchreid(protocol: str) -> None:
    record = recorded(protocol)
    assert record["source"] == "torchreid 0.2.5 (Python)"
    scored = score_tracklets(*golden.drawn(protocol), protocol, bootstrap=FEW)
    found, figures = scored.metrics["retrieval"], record["figures"]
    for k in golden.CMC_AT:  # theirs are float32
        assert found[f"cmc@{k}"]["value"] == pytest.approx(figures[f"cmc@{k}"], abs=1e-6)
    assert found["map"]["value"] == pytest.approx(figures["map"], abs=1e-12)
    assert found["map"]["count"] == figures["valid"]


def test_figures_are_those_of_the_official_mars_rules() -> None:
    scored = score_tracklets(*golden.drawn("mars-official"), "mars-official", bootstrap=FEW)
    found, figures = scored.metrics["retrieval"], recorded("mars-official")["figures"]
    assert [found[f"cmc@{k}"]["value"] for k in golden.CMC_AT] == pytest.approx(figures["cmc"])
    assert found["map"]["value"] == pytest.approx(figures["map"], abs=1e-12)
    for name, theirs in (("map", "pair_map"), ("rank1", "pair_rank1")):
        ours = np.array(scored.metrics["camera_pairs"][name], float)
        np.testing.assert_allclose(ours, np.array(figures[theirs], float), atol=1e-12)


@pytest.mark.parametrize("protocol", ["mars-official", "mars-torchreid", "cross-camera"])
def test_golden_sets_have_what_protocols_differ_in(protocol: str) -> None:
    """Junk, distractors and queries without a match are in them, so no rule is idle."""
    metrics = score_tracklets(*golden.drawn(protocol), protocol, bootstrap=FEW).metrics
    assert metrics["counts"]["junk"] > 0
    assert metrics["counts"]["distractors"] > 0
    assert sum(metrics["unmatched"].values()) > 0


def test_protocols_name_layouts_that_there_are() -> None:
    known = {mars.NAME, images.MARKET, two_cameras.PRID, two_cameras.ILIDS}
    known |= {folders.LPW, folders.DUKE}
    assert {name for protocol in PROTOCOLS.values() for name in protocol.layouts} == known


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(UserError, match=r"protocol must be one of mars-official, .*, got 'mars'"):
        protocol_named("mars")
