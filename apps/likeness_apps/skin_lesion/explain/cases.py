"""The similar cases of one image, with their pictures where the training data are at hand.

Legend: H, W of a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from likeness.data.examine import examine
from likeness.data.manifest import Manifest
from likeness.data.twins import twins_of
from likeness.files import sha256_file
from likeness_apps.shell.matching import content_hashes
from likeness_apps.shell.report.data import Picture
from likeness_apps.shell.report.pictures import as_image, shrink
from likeness_apps.skin_lesion.binary import BENIGN, MALIGNANT, malignancy
from likeness_apps.skin_lesion.cases.known_cases import KnownCases
from likeness_apps.skin_lesion.cases.similar import FAR, similar_cases
from likeness_apps.skin_lesion.diagnoses import names_of

TILE = 240  # pixels of the longer side of a case's picture
SPARE = 5  # further cases that are asked for where some may turn out to be pictures of the query
_MALIGNANT = {MALIGNANT: True, BENIGN: False}
NEAR = 4  # bits in which the fingerprints of near duplicates differ at most, as in `inspect`


@dataclass(frozen=True)
class Pictures:
    """Where pictures of training lesions come from.

    Attributes:
        files: content hash -> file.
        show: gives the picture of a file for people, None for one that must not be shown.
    """

    files: Mapping[str, Path]
    show: Callable[[Path], Picture | None]


@dataclass(frozen=True, eq=False)
class Case:
    """One training lesion.

    Attributes:
        name: the path of its nearest image in the model's splits.
        label: its class.
        diagnosis: written out.
        malignant: whether that is malignant; None where nobody says.
        distance: in the model's space.
        percentile: see `SimilarCases.percentiles_NK`; None where nothing can be compared.
        picture_HW3: small, for people; None without the training data, or where it must not be
            shown.
    """

    name: str
    label: str
    diagnosis: str
    malignant: bool | None
    distance: float
    percentile: float | None
    picture_HW3: UInt8[np.ndarray, "H W 3"] | None = None

    def facts(self) -> dict[str, Any]:
        """Plain data."""
        facts = {name: value for name, value in vars(self).items() if name != "picture_HW3"}
        return facts | {"picture": self.picture_HW3 is not None}


@dataclass(frozen=True, eq=False)
class Cases:
    """The similar cases of an image, the nearest first.

    Attributes:
        cases: at most k.
        twins: pictures of the query itself, by their looks, that were left out.
        lesions: training lesions in all.
    """

    cases: list[Case]
    twins: int
    lesions: int

    def sentences(self, label: str) -> list[str]:
        """How far they agree, with counts.

        Args:
            label: what the model said of the query; "" for nothing.
        """
        if not self.cases:
            return ["No training lesion can be shown beside this image."]
        count, said = len(self.cases), []
        if label:
            same = sum(case.label == label for case in self.cases)
            said.append(f"{same} of {count} have the predicted class, {names_of([label])[0]}.")
        known = [case for case in self.cases if case.malignant is not None]
        if known:
            bad = sum(case.malignant is True for case in known)
            said.append(f"{bad} of {len(known)} are malignant.")
        if (percentile := self.cases[0].percentile) is not None:
            said.append(_how_far(percentile, self.lesions))
        if self.twins:
            said.append(f"{self.twins} that show the same picture were left out.")
        return said

    def facts(self, label: str) -> dict[str, Any]:
        """Plain data."""
        same = sum(case.label == label for case in self.cases) if label else None
        known = [case.malignant for case in self.cases if case.malignant is not None]
        return {
            "cases": [case.facts() for case in self.cases],
            "agreement": {
                "cases": len(self.cases),
                "with_predicted_class": same,
                "malignant": sum(known),
                "of_known_malignancy": len(known),
            },
            "same_picture_left_out": self.twins,
            "training_lesions": self.lesions,
            "sentences": self.sentences(label),
        }


def find_files(known: KnownCases, manifest: Manifest, *, quiet: bool = False) -> dict[str, Path]:
    """Content hash -> file, for the training images that lie in a data set.

    Where the set has names of the splits those files count, and `cases_of` compares their bytes
    before it shows one; only where it has none of them every file is read.

    Args:
        known: the training lesions.
        manifest: the set.
        quiet: no progress bar.
    """
    names = set(manifest.table["path"])
    rows = known.rows
    here = [path in names for path in rows["path"]]
    if any(here):
        kept = rows[here]
        return {h: manifest.file(p) for h, p in zip(kept["sha256"], kept["path"], strict=True)}
    hashes = content_hashes(manifest, quiet=quiet)
    files = zip(hashes, manifest.table["path"], strict=True)
    return {h: manifest.file(path) for h, path in files if h}


def cases_of(
    query: Path,
    embedding_D: np.ndarray,
    group: str,
    content: str,
    known: KnownCases,
    pictures: Pictures | None,
    *,
    k: int,
) -> Cases:
    """The k nearest training lesions of an image.

    Args:
        query: the image, to be compared with the cases' pictures.
        embedding_D: its embedding.
        group: its patient or lesion; "" = unknown.
        content: SHA-256 of its file.
        known: the training lesions.
        pictures: of the training lesions; None without them.
        k: how many.
    """
    spare = 0 if pictures is None else SPARE
    found = similar_cases(embedding_D[None], [group], [content], known, k + spare)
    cases, files = [], []
    for place, image in enumerate(found.images_NK[0].tolist()):
        if image < 0:
            break
        row, label = known.rows.iloc[image], known.classes[found.labels_NK[0, place]]
        percentile = float(found.percentiles_NK[0, place])
        cases.append(
            Case(
                name=str(row["path"]),
                label=label,
                diagnosis=names_of([label])[0],
                malignant=_MALIGNANT.get(malignancy(label) or ""),
                distance=float(found.distances_NK[0, place]),
                percentile=None if np.isnan(percentile) else percentile,
            )
        )
        files.append(None if pictures is None else _file_of(str(row["sha256"]), pictures.files))
    twins = _twins(query, files)
    kept = [place for place in range(len(cases)) if place not in twins][:k]
    shown = [_with_picture(cases[place], files[place], pictures) for place in kept]
    return Cases(shown, len(twins), known.lesions)


def _file_of(content: str, files: Mapping[str, Path]) -> Path | None:
    """The file with this content, unless it is another one by now."""
    file = files.get(content)
    if file is None or not file.is_file():
        return None
    return file if sha256_file(file) == content else None


def _twins(query: Path, files: Sequence[Path | None]) -> set[int]:
    """The places of the files that look the same as the query."""
    there = [(place, file) for place, file in enumerate(files) if file is not None]
    if not there:
        return set()
    records = [examine(query), *(examine(file) for _, file in there)]
    own, *clusters = twins_of([f"{row:06d}" for row in range(len(records))], records, NEAR)
    pairs = zip(there, clusters, strict=True)
    return {place for (place, _), cluster in pairs if own and cluster == own}


def _with_picture(case: Case, file: Path | None, pictures: Pictures | None) -> Case:
    if file is None or pictures is None:
        return case
    picture_HW3 = pictures.show(file)
    if picture_HW3 is None:
        return case
    return replace(case, picture_HW3=np.asarray(shrink(as_image(picture_HW3), TILE)))


def _how_far(percentile: float, lesions: int) -> str:
    text = (
        f"The nearest is at distance percentile {percentile:.0f}: {percentile:.0f} % of the "
        f"{lesions:,} training lesions have another one that is at least as near to them"
    )
    if percentile > FAR:
        return f"{text}. Little like this image was trained on: answer and cases say little."
    return f"{text}."
