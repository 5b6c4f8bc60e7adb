"""Write the golden figures of the named person re-identification protocols.

    python benchmarks/query_gallery_golden.py --torchreid PATH     seconds

PATH is an unpacked torchreid; only its rank.py and distance.py are run. Features, identities and
cameras are drawn from seeds (tests/fixtures/tracklet_sets.py), so the files hold a few numbers
each. torchreid knows no official MARS rules; those figures come from the plain loops of
tests/fixtures/mars_official.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(Path(__file__).parent))
import torchreid_rank  # noqa: E402
from fixtures import mars_official  # noqa: E402
from fixtures.tracklet_sets import draw_halves, draw_set, draw_views  # noqa: E402
from likeness.files import write_json  # noqa: E402
from likeness_apps.person_reid.identities import JUNK  # noqa: E402

GOLDEN = ROOT / "tests" / "apps" / "person_reid" / "golden"
CMC_AT = (1, 5, 10, 20)
SETS: dict[str, tuple[Any, dict[str, int]]] = {
    "mars-official": (draw_set, {"seed": 11, "identities": 20, "cameras": 6}),
    "mars-torchreid": (draw_set, {"seed": 12, "identities": 20, "cameras": 6}),
    "market1501": (draw_set, {"seed": 13, "identities": 25, "cameras": 6}),
    "prid2011": (draw_halves, {"seed": 14, "people": 50}),
    "ilids-vid": (draw_halves, {"seed": 15, "people": 60}),
    "lpw": (draw_views, {"seed": 16, "people": 40}),
    "cross-camera": (draw_set, {"seed": 17, "identities": 20, "cameras": 5}),
}


def drawn(protocol: str) -> tuple[np.ndarray, pd.DataFrame]:
    """The features and the table of a protocol's golden figures."""
    draw, settings = SETS[protocol]
    features_ND, table = draw(**settings)
    return features_ND, table


def by_torchreid(
    peer: torchreid_rank.Peer, features_ND: np.ndarray, table: pd.DataFrame, asks_N: np.ndarray
) -> dict[str, Any]:
    """The figures with queries out of the gallery and junk dropped."""
    answers_N = ~asks_N & (table["label"] != JUNK).to_numpy()
    return _evaluated(peer, features_ND, table, np.flatnonzero(asks_N), np.flatnonzero(answers_N))


def over_splits(
    peer: torchreid_rank.Peer, features_ND: np.ndarray, table: pd.DataFrame
) -> dict[str, Any]:
    """The mean over the splits of `tested_in`, where camera a asks; all valid queries."""
    splits = sorted({number for cell in table["tested_in"] for number in cell.split()}, key=int)
    each = []
    for number in splits:
        in_N = np.array([number in cell.split() for cell in table["tested_in"]])
        part = table[in_N].reset_index(drop=True)
        asks_N = (part["camera"] == "a").to_numpy()
        each.append(by_torchreid(peer, features_ND[in_N], part, asks_N))
    found = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
    return found | {"valid": sum(one["valid"] for one in each)}


def across_cameras(
    peer: torchreid_rank.Peer, features_ND: np.ndarray, table: pd.DataFrame, asks_N: np.ndarray
) -> dict[str, Any]:
    """Each camera's queries alone, against the rows of all other cameras but junk."""
    parts = []
    for camera in sorted(set(table["camera"][asks_N])):
        own_N = (table["camera"] == camera).to_numpy()
        others_N = ~own_N & (table["label"] != JUNK).to_numpy()
        queries = np.flatnonzero(asks_N & own_N)
        parts.append(_evaluated(peer, features_ND, table, queries, np.flatnonzero(others_N)))
    weights = [part["valid"] for part in parts]
    found = {
        name: float(np.average([p[name] for p in parts], weights=weights)) for name in parts[0]
    }
    return found | {"valid": sum(weights)}


def official(features_ND: np.ndarray, table: pd.DataFrame, asks_N: np.ndarray) -> dict[str, Any]:
    """The plain loops' figures."""
    queries = np.flatnonzero(asks_N)
    names = {name: number for number, name in enumerate(sorted(set(table["label"]) - {JUNK}))}
    labels = [names.get(name, mars_official.JUNK) for name in table["label"]]
    cameras = (table["camera"].astype(int) - 1).tolist()
    rows = features_ND.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    distances = (-(rows[queries] @ rows.T)).tolist()
    return mars_official.evaluate(distances, queries.tolist(), labels, cameras, CMC_AT)


def _evaluated(
    peer: torchreid_rank.Peer,
    features_ND: np.ndarray,
    table: pd.DataFrame,
    queries: np.ndarray,
    gallery: np.ndarray,
) -> dict[str, Any]:
    numbers = {name: pd.factorize(table[name])[0] for name in ("label", "camera")}
    distances_QG = peer.distances(features_ND[queries], features_ND[gallery])
    sides = [numbers[name][rows] for name in numbers for rows in (queries, gallery)]
    cmc, mean_ap = peer.evaluate(distances_QG, *sides, max_rank=max(CMC_AT))
    seen = pd.MultiIndex.from_arrays([numbers["label"][gallery], numbers["camera"][gallery]])
    valid = sum(
        any(label == one and camera != other for one, other in seen)
        for label, camera in zip(sides[0], sides[2], strict=True)
    )
    return {
        **{f"cmc@{k}": float(cmc[k - 1]) for k in CMC_AT},
        "map": float(mean_ap),
        "valid": valid,
    }


def figures(peer: torchreid_rank.Peer, protocol: str) -> tuple[str, dict[str, Any]]:
    """Whose figures they are, and the figures."""
    features_ND, table = drawn(protocol)
    asks_N = (table["role"] == "query").to_numpy()
    if protocol == "mars-official":
        return "tests/fixtures/mars_official.py", official(features_ND, table, asks_N)
    if protocol in ("prid2011", "ilids-vid"):
        return peer.version, over_splits(peer, features_ND, table)
    if protocol == "cross-camera":
        return peer.version, across_cameras(peer, features_ND, table, asks_N)
    return peer.version, by_torchreid(peer, features_ND, table, asks_N)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--torchreid", type=Path, required=True, help="an unpacked torchreid")
    chosen = parser.parse_args(words)
    peer = torchreid_rank.load(chosen.torchreid, cython=False)
    for protocol, (draw, settings) in SETS.items():
        source, found = figures(peer, protocol)
        record = {"source": source, "drawn_by": draw.__name__, "settings": settings}
        write_json(GOLDEN / f"{protocol}.json", record | {"figures": found})
        print(f"{protocol}: {source}")


if __name__ == "__main__":
    main()
