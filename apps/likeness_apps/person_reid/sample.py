"""`sample`: generated people who walk past generated cameras, in the layout of MARS.

Half of the people train, half are tested. Some tracklets hold frames of somebody else, of something
in front or of nobody (`outliers.csv` says which), as tracklets of real detectors do; some test
tracklets are junk or distractors, and one query has no true match. Nobody in it is real.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from likeness.errors import require
from likeness.files import atomic_path, write_text
from likeness_apps.person_reid.cameras import SIZE, Camera, draw_camera, photograph
from likeness_apps.person_reid.layouts.mars_info import write_info
from likeness_apps.person_reid.walkers import Walker, draw_walker

SAMPLES = ("mars",)
CAMERAS = 4
PEOPLE = 40
_TRACKLETS = 2  # of a person by a camera
_FRAMES = (6, 10)
_SPOILED = 0.3  # share of tracklets with outliers
_JUNK, _DISTRACTORS = "00-1", "0000"

README = """Generated data: these people were drawn by `likeness person-reid sample`.

Nobody in it is real, no photograph is involved, and nothing may be concluded from it about real
people, least of all about skin tones, which are made up as well. Folders, names and tables follow
MARS (Zheng et al. 2016), whose pictures are not in here. outliers.csv names the frames that show
something else than their tracklet: `other` somebody else, `covered` something in front, `empty`
nobody.
"""


@dataclass(frozen=True)
class _Tracklet:
    """What is to be drawn.

    Attributes:
        part: `train` or `test`.
        name: as in MARS, `0001C1T0001`.
        walker: who walks.
        camera: number of the camera, from 1.
        kind: `person`, or `junk` for a box that misses.
    """

    part: str
    name: str
    walker: Walker
    camera: int
    kind: str = "person"


def generator(*key: object) -> np.random.Generator:
    """Random numbers that belong to these words and numbers, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def write_sample(
    out: Path,
    *,
    seed: int = 0,
    layout: str = "mars",
    people: int = PEOPLE,
    size: tuple[int, int] = SIZE,
) -> Path:
    """Write a generated set in a public layout, and a readme.

    Args:
        out: the directory to write into.
        seed: of the set.
        layout: `mars`: `MARS_generated/bbox_{train,test}/<identity>/`, with `info/`.
        people: how many; every second one is tested.
        size: (height, width) of a frame in pixels.

    Returns:
        The root of the set, as other commands take it.

    Raises:
        UserError: for an unknown layout or another number of people.
    """
    require(layout in SAMPLES, "layout", f"one of {', '.join(SAMPLES)}", layout)
    require(4 <= people <= 9998, "people", "from 4 to 9998", people)
    root = out / "MARS_generated"
    cameras = [draw_camera(generator(seed, "camera", n)) for n in range(1, CAMERAS + 1)]
    walkers = [draw_walker(generator(seed, "person", n)) for n in range(1, people + 1)]
    names: dict[str, list[str]] = {"train": [], "test": []}
    outliers: list[tuple[str, str]] = []
    tracklets = [*_walks(seed, walkers), *_nobody(seed, people)]
    for tracklet in tracklets:
        folder = f"bbox_{tracklet.part}/{tracklet.name[:4]}"
        for number, (image_HW3, outlier) in enumerate(
            _film(seed, tracklet, cameras, walkers, size)
        ):
            name = f"{tracklet.name}F{number + 1:03d}.jpg"
            with atomic_path(root / folder / name) as temporary:
                Image.fromarray(image_HW3).save(temporary, "JPEG", quality=92)
            names[tracklet.part].append(name)
            outliers += [(f"{folder}/{name}", outlier)] if outlier else []
    write_info(root, names, _queries(tracklets))
    with atomic_path(root / "outliers.csv") as temporary:
        table = pd.DataFrame(outliers, columns=["path", "kind"])
        table.to_csv(temporary, index=False, lineterminator="\n")
    write_text(root / "readme.txt", README)
    return root


def _walks(seed: int, walkers: list[Walker]) -> Iterator[_Tracklet]:
    """Two tracklets by each of three or four cameras; the last tested person has one camera."""
    for number, walker in enumerate(walkers, start=1):
        part = "train" if number % 2 else "test"
        rng = generator(seed, "cameras", number)
        seen_by = sorted(rng.permutation(CAMERAS)[: rng.integers(3, CAMERAS + 1)] + 1)
        if number == len(walkers) - len(walkers) % 2:
            seen_by = seen_by[:1]
        for camera in seen_by:
            for track in range(1, _TRACKLETS + 1):
                yield _Tracklet(part, f"{number:04d}C{camera}T{track:04d}", walker, int(camera))


def _nobody(seed: int, people: int) -> Iterator[_Tracklet]:
    """Junk (boxes that miss a tested person) and distractors (people whom no query asks for)."""
    for person, kind in ((_JUNK, "junk"), (_DISTRACTORS, "person")):
        for track in range(1, max(2, people // 5) + 1):
            camera = 1 + track % CAMERAS
            rng = generator(seed, "person", 2 * track if kind == "junk" else f"distractor {track}")
            name = f"{person}C{camera}T{track:04d}"
            yield _Tracklet("test", name, draw_walker(rng), camera, kind)


def _queries(tracklets: list[_Tracklet]) -> set[str]:
    """The last tracklet of each tested person by each camera, as in MARS."""
    last = {
        tracklet.name.rpartition("T")[0]: tracklet.name
        for tracklet in tracklets
        if tracklet.part == "test" and tracklet.name[:4] not in (_JUNK, _DISTRACTORS)
    }
    return set(last.values())


def _film(
    seed: int,
    tracklet: _Tracklet,
    cameras: list[Camera],
    walkers: list[Walker],
    size: tuple[int, int],
) -> Iterator[tuple[np.ndarray, str]]:
    """The frames of a tracklet, each with the kind of outlier that it is ("" = none)."""
    rng = generator(seed, "film", tracklet.name)
    camera = cameras[tracklet.camera - 1]
    light = rng.normal(1, 0.06)
    red, green, blue = camera.gain
    camera = replace(camera, gain=(light * red, light * green, light * blue))
    count = int(rng.integers(_FRAMES[0], _FRAMES[1] + 1))
    spoiled = set()
    if tracklet.kind == "person" and rng.random() < _SPOILED:
        spoiled = set(rng.permutation(count)[: rng.integers(1, count // 2)].tolist())
    start, place = rng.uniform(0, 6.28), rng.uniform(0, 4)
    miss = (float(rng.choice((-0.5, 0.5))), float(rng.uniform(-0.1, 0.45)))
    shift = miss if tracklet.kind == "junk" else (0.0, 0.0)
    for frame in range(count):
        outlier = str(rng.choice(("other", "covered", "empty"))) if frame in spoiled else ""
        stranger = walkers[rng.integers(len(walkers))]
        walker = {"other": stranger, "empty": None}.get(outlier, tracklet.walker)
        yield (
            photograph(
                walker,
                camera,
                step=start + frame * tracklet.walker.cadence,
                place=place + 0.08 * frame,
                rng=rng,
                size=size,
                cover=float(rng.uniform(0.55, 0.85)) if outlier == "covered" else 0.0,
                shift=shift,
            ),
            outlier,
        )
