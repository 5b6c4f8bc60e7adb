"""The named evaluation protocols: who asks, who is asked, what counts.

The figures of one model differ by points between protocols, so every result carries the name, the
rules and the words of its own. `explain_score` says which rule makes two of them differ.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from likeness.errors import require
from likeness.evaluation.ranking_rules import RankingRules


@dataclass(frozen=True)
class RankingProtocol:
    """A named way of ranking tracklets.

    Attributes:
        name: as in `--protocol`.
        source: where the rules come from, written beside every result.
        rules: what is ranked and what counts.
        layouts: the layouts that it is defined for; () for any set.
        splits: published random splits; their figures are averaged.
        one_camera_asks: all queries are from one camera, and the gallery has none of it.
    """

    name: str
    source: str
    rules: RankingRules
    layouts: tuple[str, ...] = ()
    splits: int = 1
    one_camera_asks: bool = False

    def note(self, layout: str) -> str:
        """What a reader must know if it is used on a set that it is not defined for; else ""."""
        if not self.layouts or layout in self.layouts:
            return ""
        made_for = " and ".join(self.layouts)
        return f"defined for {made_for}; this set was read as {layout}"

    def stated(self) -> dict[str, Any]:
        """What metrics.json says of it."""
        return {
            "protocol": self.name,
            "protocol_source": self.source,
            "protocol_text": self.rules.words(),
            "rules": asdict(self.rules),
        }


_MARS_OFFICIAL = RankingProtocol(
    name="mars-official",
    source=(
        "evaluation_mars.m and compute_AP.m of the authors of MARS (Zheng et al., ECCV 2016): the "
        "gallery is all 12,180 test tracklets with the 1,980 queries, AP is drawn in trapezoids, "
        "figures are divided by all queries. A query without a true match counts as 0, where the "
        "official mAP would be undefined. As there, the matrices of camera pairs keep junk."
    ),
    rules=RankingRules(
        queries_in_gallery=True, curve="trapezoid", unmatched="zero", pairs_keep_junk=True
    ),
    layouts=("mars",),
)
_MARS_TORCHREID = RankingProtocol(
    name="mars-torchreid",
    source=(
        "MARS as torchreid evaluates it: the gallery is the 9,330 test tracklets that are neither "
        "query nor junk, AP in steps; queries without a true match (140 of 1,980) are skipped."
    ),
    rules=RankingRules(),
    layouts=("mars",),
)
_MARKET_1501 = RankingProtocol(
    name="market1501",
    source=(
        "Market-1501 (Zheng et al., ICCV 2015) as torchreid and fast-reid evaluate it: items of "
        "the query's identity and camera, and junk, are removed, distractors stay; AP in steps. "
        "The authors' own MATLAB code draws AP in trapezoids, which gives lower figures."
    ),
    rules=RankingRules(),
    layouts=("market1501", "dukemtmc-videoreid"),
)
_PRID_2011 = RankingProtocol(
    name="prid2011",
    source=(
        "PRID2011, multi-shot (Hirzer et al., SCIA 2011), the 178 people of at least 27 frames in "
        "10 random halves (Wang et al., ECCV 2014): camera a asks camera b, one tracklet each; "
        "mean over the 10 splits. AP in steps, as torchreid."
    ),
    rules=RankingRules(),
    layouts=("prid2011",),
    splits=10,
    one_camera_asks=True,
)
_ILIDS_VID = RankingProtocol(
    name="ilids-vid",
    source=(
        "iLIDS-VID (Wang et al., ECCV 2014), 300 people in the 10 random halves that come with it: "
        "camera 1 asks camera 2, one tracklet each; mean over the 10 splits. AP in steps, as "
        "torchreid."
    ),
    rules=RankingRules(),
    layouts=("ilids-vid",),
    splits=10,
    one_camera_asks=True,
)
_LPW = RankingProtocol(
    name="lpw",
    source=(
        "Labelled Pedestrian in the Wild (Song et al., AAAI 2018) as the authors of OSM + CAA "
        "evaluate it: scene 1; view 2 asks, views 1 and 3 are the gallery; a hit is any of the K "
        "nearest. They report CMC only; mAP in steps is our addition."
    ),
    rules=RankingRules(),
    layouts=("lpw",),
    one_camera_asks=True,
)
_CROSS_CAMERA = RankingProtocol(
    name="cross-camera",
    source=(
        "our own, for sets without a published protocol: a query meets the items of all other "
        "cameras, other queries among them, and nothing of its own camera; AP in steps."
    ),
    rules=RankingRules(queries_in_gallery=True, same_camera="removed"),
)

PROTOCOLS: dict[str, RankingProtocol] = {
    protocol.name: protocol
    for protocol in (
        _MARS_OFFICIAL,
        _MARS_TORCHREID,
        _MARKET_1501,
        _PRID_2011,
        _ILIDS_VID,
        _LPW,
        _CROSS_CAMERA,
    )
}


def protocol_named(name: str) -> RankingProtocol:
    """A protocol by its name.

    Raises:
        UserError: if there is none of that name.
    """
    require(name in PROTOCOLS, "protocol", f"one of {', '.join(PROTOCOLS)}", name)
    return PROTOCOLS[name]
