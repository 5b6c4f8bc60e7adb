"""Photographs in, rows out: faces per second from end to end, and what the cascade finds.

    python benchmarks/faces.py                                     a minute or two on two cores
    python benchmarks/faces.py --photos 8 --rounds 1 --out /tmp/faces.json

Speed: photographs of 1280 x 960 pixels (JPEG) with four drawn heads each, faces of 110 to 190
pixels. In turns: reading alone (`decode`), reading and finding (`find`: scikit-image's cascade, for
faces of at least 1/20 of the longer side), the whole command (`whole`: `predict --faces find`, a
ResNet-18 at 48 pixels with random weights) and, beside it, the command on pictures that are one
face each (`given`: 48 pixels, PNG, as many as the photographs have faces). The best round counts;
the reader and the finder have as many threads as the command.

With LIKENESS_DATA, coverage: pictures of FER2013's training part (`ferplus/data/FER2013Train`,
drawn by a seed), enlarged to 96 pixels and set into surroundings of their edge pixels, 48 a side.
For each least number of windows: the share of pictures whose face is found (one box with its centre
within a quarter of the side of the picture's centre and more than half as wide), and how many other
boxes there are. For the default: where the boxes lie, as shares of the original frame.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from measurements import arguments, in_turns, record

WIDTH, HEIGHT, SIDES = 1280, 960, (110, 130, 160, 190)
EXPRESSIONS = ("neutral", "happiness", "anger", "sadness")
INPUT = 48  # of the network, and side of FER2013's pictures
ENLARGED, AROUND, SMALLEST = 96, 48, 40
VOTES = (1, 2, 3, 4, 5, 6, 8)


def write_photos(folder: Path, photos: int, seed: int) -> Path:
    """Heads in a row on a ground of soft noise."""
    from likeness_apps.facial_expression.drawn_faces import paste_head
    from likeness_apps.facial_expression.drawn_looks import variants

    generator = np.random.default_rng(seed)
    folder.mkdir()
    for number in range(photos):
        coarse = generator.integers(120, 220, (HEIGHT // 60, WIDTH // 80, 3), dtype=np.uint8)
        ground = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        photo_HW3 = np.array(ground)
        for place, side in enumerate(SIDES):
            expression = EXPRESSIONS[(number + place) % len(EXPRESSIONS)]
            kind = variants(expression)[0]
            middle = 170.0 + 310 * place, float(generator.uniform(250, 700))
            subject = int(generator.integers(40))
            look: dict[str, Any] = {"centre": middle, "side": side, "generator": generator}
            paste_head(photo_HW3, expression, kind, subject, **look)
        Image.fromarray(photo_HW3).save(folder / f"{number:04d}.jpg", quality=90)
    return folder


def write_faces(folder: Path, faces: int, seed: int) -> Path:
    """Pictures that are one face each."""
    from likeness_apps.facial_expression.drawn_faces import draw_face
    from likeness_apps.facial_expression.drawn_looks import variants

    generator = np.random.default_rng(seed)
    folder.mkdir()
    for number in range(faces):
        expression = EXPRESSIONS[number % len(EXPRESSIONS)]
        drawn = draw_face(expression, variants(expression)[0], number % 40, INPUT, generator)
        Image.fromarray(drawn).save(folder / f"{number:05d}.png")
    return folder


def write_model(folder: Path) -> Path:
    """A bundle with random weights."""
    import pandas as pd
    import torch

    from likeness.bundle import save_bundle
    from likeness.card import SECTIONS
    from likeness.data.transforms import Preprocessing
    from likeness.models import ModelSpec, build_embedder
    from likeness_apps.facial_expression.expressions import EXPRESSIONS as CLASSES

    torch.manual_seed(0)
    spec = ModelSpec(backbone="resnet18", image_size=INPUT)
    save_bundle(
        folder,
        build_embedder(spec, num_classes=len(CLASSES)),
        config={"model": spec.model_dump(mode="json")},
        classes=list(CLASSES),
        preprocessing=Preprocessing(size=INPUT, mean=[0.5] * 3, std=[0.2] * 3),
        splits=pd.DataFrame(columns=["path", "label", "split", "group", "sha256"]),
        metrics={},
        provenance={"data_licence": "generated"},
        card="# Card\n\n" + "\n\n".join(f"## {heading}\n\nNone." for heading in SECTIONS) + "\n",
    )
    return folder


def speeds(folder: Path, photos: int, rounds: int, seed: int) -> dict[str, Any]:
    """Photographs and faces per second, in turns."""
    from likeness.data.decode import decode
    from likeness.inference import shards
    from likeness.inference.predictor import Predictor
    from likeness.threads import prefetched
    from likeness_apps.facial_expression.faces.cascade import CascadeDetector
    from likeness_apps.facial_expression.faces.photos import predict_photos

    seen = write_photos(folder / "photos", photos, seed)
    cut = write_faces(folder / "faces", photos * len(SIDES), seed)
    model = Predictor(write_model(folder / "model"))
    files, detector, numbers = sorted(seen.iterdir()), CascadeDetector(), count()

    def found(file: Path) -> int:
        return len(list(detector(decode(file))))

    def new() -> Path:
        return folder / f"{next(numbers)}.csv"

    together = partial(prefetched, files, threads=model.threads)
    works = {
        "decode": lambda: len(list(together(decode))),
        "find": lambda: sum(together(found)),
        "whole": lambda: predict_photos(model, seen, new()).faces,
        "given": lambda: shards.predict(model, cut, new()).ok,
    }
    works["whole"]()  # torch's first batch takes longer
    taken = in_turns(works, rounds=rounds)
    whole = taken["whole"]
    speed = {
        name: {
            "photos_per_s": photos / min(one.wall_s),
            "photos_per_cpu_s": photos / min(one.cpu_s),
        }
        for name, one in taken.items()
        if name != "given"
    }
    return {
        "faces_drawn": photos * len(SIDES),
        "faces_found": whole.value,
        "faces_per_s": whole.value / min(whole.wall_s),
        "faces_per_s_given": taken["given"].value / min(taken["given"].wall_s),
        **speed,
    }


def framed(folder: Path, pictures: int, seed: int) -> Iterator[np.ndarray]:
    """Real faces in plain surroundings."""
    files = sorted(folder.glob("*.png"))
    chosen = np.random.default_rng(seed).choice(len(files), pictures, replace=False)
    for index in chosen.tolist():
        with Image.open(files[index]) as image:
            large = image.convert("L").resize((ENLARGED, ENLARGED), Image.Resampling.BILINEAR)
        yield np.pad(np.asarray(large), AROUND, mode="edge")[..., None].repeat(3, axis=2)


def coverage(folder: Path, pictures: int, seed: int) -> dict[str, Any]:
    """What the cascade finds of FER2013's faces, and what it takes for faces besides."""
    from likeness_apps.facial_expression.faces.cascade import CascadeDetector

    detector = CascadeDetector(min_face=SMALLEST, min_votes=1)
    middle, best, others, places = AROUND + ENLARGED / 2, [], [], []
    for image_HW3 in framed(folder, pictures, seed):
        right = [0.0]
        for face in detector(image_HW3):
            x, y = face.left + face.width / 2, face.top + face.height / 2
            away = max(abs(x - middle), abs(y - middle))
            if away < ENLARGED / 4 and face.width > ENLARGED / 2 and right == [0.0]:
                right = [face.score]
                box = (face.left - AROUND, face.top - AROUND, face.width, face.height)
                places.append((face.score, *(value / ENLARGED for value in box)))
            else:
                others.append(face.score)
        best += right
    kept = np.array([place[1:] for place in places if place[0] >= 4])
    by_votes = [
        {
            "votes": n,
            "found": float(np.mean(np.array(best) >= n)),
            "others": sum(o >= n for o in others),
        }
        for n in VOTES
    ]
    return {
        "pictures": pictures,
        "by_votes": by_votes,
        "box_median": np.median(kept, axis=0),
        "box_tenths": np.quantile(kept, (0.1, 0.9), axis=0),
    }


def main() -> None:
    """Measure, print and write."""
    parser = arguments(__doc__, "faces", photos=60, rounds=3, pictures=300, seed=0)
    chosen = parser.parse_args()
    from likeness.files import write_json

    provenance = record(chosen.seed, data="generated; FER2013 training part for coverage")
    with tempfile.TemporaryDirectory() as name:
        found = {"speed": speeds(Path(name), chosen.photos, chosen.rounds, chosen.seed)}
    data = os.environ.get("LIKENESS_DATA")
    if data:
        faces = Path(data) / "ferplus" / "data" / "FER2013Train"
        found["coverage"] = coverage(faces, chosen.pictures, chosen.seed)
    setting = {name: getattr(chosen, name) for name in ("photos", "rounds", "pictures", "seed")}
    write_json(chosen.out, {**found, "provenance": provenance, "setting": setting})
    print(chosen.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
