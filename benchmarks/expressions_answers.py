"""What a model of the experiment on displayed expressions says of each test picture.

Legend: N pictures, C classes, D embedding dimension, K cells with votes, V votes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from expressions_measures import OTHER_READOUTS, kl_to_votes
from likeness.data.dataset import ImageRows
from likeness.errors import require
from likeness.evaluation.calibration import fit_temperature
from likeness.evaluation.clustering import clustering
from likeness.evaluation.retrieval import retrieval
from likeness.inference.readers import Reader, available_readouts, reader_of
from likeness.inference.readouts import Readout, softmax
from likeness_apps.facial_expression.votes import COLUMNS
from likeness_apps.shell.finish import answer
from likeness_apps.shell.setup import Split

if TYPE_CHECKING:
    from likeness.bundle import Bundle
    from likeness.data.manifest import Manifest

NEIGHBOURS = 11
HEADLINES = ("softmax", "nearest_centre")  # a model answers by the first of these that it has


@dataclass(frozen=True, eq=False)
class Asked:
    """A split and what the network said of it, in float32.

    Attributes:
        rows: of the manifest.
        truth_N: class numbers in the model's order.
        votes_NC: how many taggers named each class.
        embeddings_ND: raw.
        logits_NC: no columns without a class layer.
    """

    rows: pd.DataFrame
    truth_N: np.ndarray
    votes_NC: np.ndarray
    embeddings_ND: np.ndarray
    logits_NC: np.ndarray

    def scored(self, reader: Reader) -> Readout:
        """Labels and scores of a read-out, which no temperature has touched."""
        return reader.scored(self.embeddings_ND, self.logits_NC)


def ask(bundle: Bundle, manifest: Manifest, split: str) -> Asked:
    """Show the network all pictures of a split."""
    rows = manifest.rows(split).reset_index(drop=True)
    truth_N = np.array([bundle.classes.index(label) for label in rows["label"]])
    votes_NC = rows[[f"votes_{name}" for name in bundle.classes]].to_numpy(np.int64)
    images = ImageRows(manifest.root, rows["path"].tolist(), bundle.preprocessing)
    raw = answer(bundle.embedder, Split(images, truth_N, rows))
    lost = len(rows) - len(raw.kept_N)
    require(not lost, f"pictures of the split {split}", "readable, all of them", f"{lost} others")
    return Asked(rows, truth_N, votes_NC, raw.embeddings_ND, raw.logits_NC)


def answers(bundle: Bundle, manifest: Manifest) -> tuple[pd.DataFrame, float]:
    """The items of a run, and the NMI of clusters of the test pictures.

    Args:
        bundle: the model.
        manifest: the splits; `val` fits a temperature.

    Returns:
        One row per test picture: picture, group, copied, truth, votes; `p_<class>` by the headline
        read-out, calibrated on labels; kl, see `apart_from_votes`; `said_<read-out>` of the others,
        "" where the model lacks it; map@r, recall@1 and map@r_cosine, see `ranked`.
    """
    tested, held = ask(bundle, manifest, "test"), ask(bundle, manifest, "val")
    readers = readers_of(bundle)
    headline = next(readers[name] for name in HEADLINES if name in readers)
    said_NC = headline(tested.embeddings_ND, tested.logits_NC).scores_NC
    rows = tested.rows
    items = pd.DataFrame(
        {
            "picture": [PurePosixPath(path).stem for path in rows["path"]],
            **{name: rows[name] for name in ("group", "copied")},
            "truth": rows["label"],
            **{name: rows[name].astype(np.int8) for name in COLUMNS},
            **{f"p_{name}": said_NC[:, place] for place, name in enumerate(bundle.classes)},
            "kl": apart_from_votes(headline, held, tested),
            **ranked(bundle, tested),
        }
    )
    for name in OTHER_READOUTS:
        numbers = tested.scored(readers[name]).labels_N if name in readers else ()
        labels = [bundle.classes[number] for number in numbers]
        items[f"said_{name}"] = labels or [""] * len(items)
    doubles = items.select_dtypes(np.float64).columns
    clusters = clustering(tested.embeddings_ND, tested.truth_N, space=bundle.space)
    return items.astype(dict.fromkeys(doubles, np.float32)), clusters.values["nmi"].value


def readers_of(bundle: Bundle) -> dict[str, Reader]:
    """All read-outs that a model has."""
    found = {name: reader_of(bundle, name, k=NEIGHBOURS) for name in available_readouts(bundle)}
    return {name: reader for name, reader in found.items() if isinstance(reader, Reader)}


def ranked(bundle: Bundle, tested: Asked) -> dict[str, np.ndarray]:
    """What each test picture finds among the others; none finds a copy of itself."""
    groups_N = tested.rows["group"].to_numpy(dtype=str)
    search = partial(
        retrieval, tested.embeddings_ND, tested.truth_N, exclude=[(groups_N, groups_N)]
    )
    own = search(metrics=("map@r", "recall@1"), space=bundle.space)
    cosine = search(metrics=("map@r",), space="cosine")
    return {**own.per_query, "map@r_cosine": cosine.per_query["map@r"]}


def apart_from_votes(reader: Reader, held: Asked, tested: Asked) -> np.ndarray:
    """KL of each test picture's probabilities, at the temperature that fits validation's votes."""
    temperature = fitted_to_votes(held.scored(reader).scores_NC, held.votes_NC)
    said_NC = softmax(tested.scored(reader).scores_NC, temperature)
    return kl_to_votes(tested.votes_NC, said_NC)


def fitted_to_votes(scores_NC: np.ndarray, votes_NC: np.ndarray) -> float:
    """The temperature that makes the votes most likely, each of them counting once."""
    picture_K, class_K = np.nonzero(votes_NC)
    times_K = votes_NC[picture_K, class_K]
    picture_V, class_V = (np.repeat(numbers_K, times_K) for numbers_K in (picture_K, class_K))
    return fit_temperature(scores_NC[picture_V], class_V).value
