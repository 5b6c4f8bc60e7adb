"""`sample`: generated lesions in public layouts.

The sets are calibrated: colours alone hardly tell the classes apart, a small network does well but
not perfectly. Nothing may be concluded from them about people, least of all about skin tones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from PIL import Image

from likeness.errors import require
from likeness.files import atomic_path, write_text
from likeness_apps.skin_lesion.drawing import KINDS, draw_lesion, photograph

SIZE = (96, 128)  # height and width of a photograph in pixels
_SPLITS = {"Training": 0.6, "Validation": 0.15, "Test_v2": 0.25}  # of a class
_HAM_LABELS = dict(zip(KINDS, ("nv", "mel", "bkl"), strict=True))
_PLACES = ("back", "lower extremity", "trunk", "upper extremity", "abdomen", "face", "unknown")
_UNKNOWN = 0.1  # share of ages and of sexes that are not given

README = """Generated data: these lesions were drawn by `likeness skin-lesion sample`.

No person has them and nothing may be concluded from them about real skin. The skin tones are made
up as well: how a model does on them says nothing about real dark or light skin. Ages, sexes and
sites are drawn at random and mean nothing. File names and tables follow {name}, whose pictures are
not in here.
"""


def generator(*key: object) -> np.random.Generator:
    """Random numbers that belong to these words and numbers, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def lesion_image(
    kind: str, number: int, view: int = 0, *, seed: int = 0, size: tuple[int, int] = SIZE
) -> UInt8[np.ndarray, "H W 3"]:
    """One photograph of a generated lesion, the same for the same arguments on every call.

    Args:
        kind: a class of `KINDS`.
        number: which lesion of the class.
        view: which photograph of the lesion.
        seed: of the set.
        size: (height, width) in pixels.
    """
    lesion = draw_lesion(kind, generator(seed, kind, number))
    return photograph(lesion, generator(seed, kind, number, "view", view), size)[0]


def write_sample(
    out: Path,
    *,
    seed: int = 0,
    layout: str = "isic-2017",
    per_class: int | None = None,
    size: tuple[int, int] = SIZE,
) -> Path:
    """Write a generated set in a public layout, and a readme.

    Args:
        out: the directory to write into.
        seed: of the set.
        layout: `isic-2017`: `ISIC-2017_{Training,Validation,Test_v2}_Data` with tables of labels,
            ages and sexes; 60, 15 and 25 % of each class.
            `ham10000`: `HAM10000_images_part_{1,2}` and `HAM10000_metadata.csv`; one to three
            photographs per lesion, no split.
        per_class: lesions per class, at least 4; None takes 120 or 60.
        size: (height, width) of a photograph in pixels.

    Returns:
        The root of the set, as other commands take it.

    Raises:
        UserError: for an unknown layout or another number of lesions.
    """
    require(layout in SAMPLES, "layout", f"one of {', '.join(SAMPLES)}", layout)
    usual, write = SAMPLES[layout]
    count = usual if per_class is None else per_class
    require(4 <= count <= 10_000, "per_class", "from 4 to 10000", count)
    return write(out, seed, count, size)


def _write_isic_2017(out: Path, seed: int, per_class: int, size: tuple[int, int]) -> Path:
    root = out / "ISIC2017_generated"
    lesions = _shuffled(seed, per_class)
    numbers = iter(range(len(lesions)))
    for split, chosen in _by_split(lesions, per_class):
        truth, people = [], []
        for kind, lesion in chosen:
            name = f"ISIC_{next(numbers):07d}"
            image_HW3 = lesion_image(kind, lesion, seed=seed, size=size)
            _save(root / f"ISIC-2017_{split}_Data" / f"{name}.jpg", image_HW3)
            flags = {other: float(kind == other) for other in KINDS[1:]}  # neither: nevus
            truth.append({"image_id": name, **flags})
            age, sex = _person(generator(seed, kind, lesion, "person"))
            people.append({"image_id": name, "age_approximate": age or "unknown", "sex": sex})
        _table(root / f"ISIC-2017_{split}_Part3_GroundTruth.csv", truth)
        folder = root / f"ISIC-2017_{split}_Data"
        _table(folder / f"ISIC-2017_{split}_Data_metadata.csv", people)
    write_text(root / "readme.txt", README.format(name="ISIC 2017 (Codella et al. 2018)"))
    return root


def _write_ham10000(out: Path, seed: int, per_class: int, size: tuple[int, int]) -> Path:
    root = out / "HAM10000_generated"
    rows: list[dict[str, str]] = []
    for number, (kind, lesion) in enumerate(_shuffled(seed, per_class)):
        rng = generator(seed, kind, lesion, "person")
        age, sex = _person(rng)
        place = str(rng.choice(_PLACES))
        for view in range(int(rng.choice((1, 2, 3), p=(0.6, 0.3, 0.1)))):
            name = f"ISIC_{len(rows):07d}"
            image_HW3 = lesion_image(kind, lesion, view, seed=seed, size=size)
            _save(root / f"HAM10000_images_part_{1 + number % 2}" / f"{name}.jpg", image_HW3)
            row = {"lesion_id": f"HAM_{number:07d}", "image_id": name, "dx": _HAM_LABELS[kind]}
            rows.append(
                row | {"dx_type": "generated", "age": age, "sex": sex, "localization": place}
            )
    _table(root / "HAM10000_metadata.csv", rows)
    write_text(root / "readme.txt", README.format(name="HAM10000 (Tschandl et al. 2018)"))
    return root


# The usual number of lesions per class, and the writer.
SAMPLES: dict[str, tuple[int, Callable[[Path, int, int, tuple[int, int]], Path]]] = {
    "isic-2017": (120, _write_isic_2017),
    "ham10000": (60, _write_ham10000),
}


def _shuffled(seed: int, per_class: int) -> list[tuple[str, int]]:
    """Class and number of every lesion, in an order that tells nothing."""
    lesions = [(kind, number) for number in range(per_class) for kind in KINDS]
    order = generator(seed, "order").permutation(len(lesions))
    return [lesions[place] for place in order]


def _by_split(
    lesions: list[tuple[str, int]], per_class: int
) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """The lesions of each split: by their number in the class, which says nothing either."""
    start = 0.0
    for split, share in _SPLITS.items():
        low, high = round(start * per_class), round((start + share) * per_class)
        yield split, [lesion for lesion in lesions if low <= lesion[1] < high]
        start += share


def _person(rng: np.random.Generator) -> tuple[str, str]:
    """Age in years ("" = not given) and sex, which have nothing to do with the lesion."""
    age = "" if rng.random() < _UNKNOWN else str(5 * int(rng.integers(3, 18)))
    sex = "unknown" if rng.random() < _UNKNOWN else str(rng.choice(("female", "male")))
    return age, sex


def _save(path: Path, image_HW3: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(image_HW3).save(temporary, "JPEG", quality=92)


def _table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with atomic_path(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False, lineterminator="\n")
