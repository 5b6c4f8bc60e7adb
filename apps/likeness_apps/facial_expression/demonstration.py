"""What `make demo` shows of faces: classes and variants, measured, and found in photo and video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from likeness.data.manifest import Manifest
from likeness.subclasses import agreement_inside
from likeness_apps.facial_expression.demo_pictures import (
    write_faces,
    write_photo_answers,
    write_photographs,
    write_recalls,
    write_variants,
    write_video,
)
from likeness_apps.facial_expression.domain import DOMAIN
from likeness_apps.facial_expression.faces.cascade import CascadeDetector
from likeness_apps.facial_expression.faces.photos import predict_photos
from likeness_apps.facial_expression.variants.assign import TRAINED
from likeness_apps.facial_expression.variants.run import subclasses
from likeness_apps.facial_expression.video.run import SHARE, predict_video
from likeness_apps.shell.console import say
from likeness_apps.shell.evaluate import evaluate
from likeness_apps.shell.inspect import inspect
from likeness_apps.shell.members import predictor_of
from likeness_apps.shell.report.sheets import GENERATED
from likeness_apps.shell.search import index, search, test_queries
from likeness_apps.shell.train import train

if TYPE_CHECKING:
    from likeness_apps.demo import Journal

QUERIES = 5
OWN = (
    "No faces of your own set are shown, and no photograph or video is made for a model of it "
    "(docs/facial-expression.md has the commands)."
)


def find_variants(journal: Journal, out: Path) -> None:
    """Inspect, train, divide and evaluate; search; then faces in a photograph and in a video.

    Of somebody's own set no face is shown, and nothing is searched.

    Args:
        journal: knows the data, notes commands and cards.
        out: where the demo writes.
    """
    journal.run(f"inspect {journal.shown()}", inspect, DOMAIN, journal.data)
    model = _train(journal, out)
    _divide_and_measure(journal, out, model)
    if journal.generated:
        _search(journal, out, model)
        _look_at_photographs(journal, out, model)
        _watch(journal, out, model)
    else:
        say(OWN)
    text = "Curves and validation figures, before the rounds of sub-classes."
    journal.card("Training run", "run/report.html", text, "run/logs/curves.png")
    if journal.generated:
        _show_faces(journal, out)


def _train(journal: Journal, out: Path) -> Path:
    """A model, another one with another seed, and rounds of sub-classes from the first."""
    shown, pictures = journal.shown(), journal.generated
    run, variants, second = out / "run", out / "variants", ["seed=1"]
    images = " --include-images" if pictures else ""
    line = f"train {shown} --config demo --out {run}{images}"
    journal.run(line, _trained, journal, run, "demo", [])
    line = f"train {shown} --config demo --set seed=1 --out {out}/run-1{images}"
    journal.run(line, _trained, journal, out / "run-1", "demo", second)
    line = f"train {shown} --config demo_subclasses --set start={run} --out {variants}{images}"
    journal.run(line, _trained, journal, variants, "demo_subclasses", [f"start={run}"])
    return variants


def _trained(journal: Journal, out: Path, config: str, changes: list[str]) -> None:
    options: dict[str, Any] = {"config": config, "changes": changes}
    train(DOMAIN, journal.data, out, include_images=journal.generated, **options)


def _divide_and_measure(journal: Journal, out: Path, model: Path) -> None:
    """What variants there are, whether the other seed finds them, and the figures of the test."""
    shown, pictures = journal.shown(), journal.generated
    images = " --include-images" if pictures else ""
    found, result = out / "subclasses", out / "result"
    line = f"subclasses {model} {shown} --also {out}/run-1 --out {found}{images}"
    asked = {"also": [out / "run-1"], "include_images": pictures}
    facts = journal.run(line, subclasses, DOMAIN, model, journal.data, found, **asked)
    line = f"evaluate {model} {shown} --out {result}{images}"
    given = DOMAIN, model, journal.data, result
    metrics = journal.run(line, evaluate, *given, include_images=pictures)
    text = facts["stability"]["told"]
    if pictures:
        assigned = pd.read_csv(found / "assigned.csv", keep_default_na=False)
        manifest = DOMAIN.recognise(journal.data)
        write_variants(out / "subclasses.png", manifest, assigned, facts["stability"]["by_class"])
        text = f"{text} {_recovered(manifest, assigned)}"
    journal.card("Sub-classes", "subclasses/subclasses.html", text, "subclasses.png")
    write_recalls(out / "recalls.png", metrics["expression"])
    text = "Test figures beside human agreement, a map with ellipses, copies, calibration."
    journal.card("Evaluation", "result/report.html", text, "recalls.png")


def _recovered(manifest: Manifest, assigned: pd.DataFrame) -> str:
    """How far the sub-classes of training pictures are the variants that were drawn."""
    drawn = pd.read_csv(manifest.root.parent / "truth.csv", dtype=str).set_index("picture")
    known = assigned[assigned["how"] == TRAINED]
    truth = drawn.loc[known["path"].str.rpartition("/")[2]]
    as_drawn = (truth["expression"].to_numpy() == known["truth"].to_numpy()).nonzero()
    parts = known["truth"], known["subclass"], truth["variant"]
    labels_N, found_N, variant_N = (pd.factorize(np.array(part)[as_drawn])[0] for part in parts)
    _, by_class = agreement_inside(labels_N, found_N, variant_N)
    names = pd.unique(known["truth"].to_numpy()[as_drawn])
    several = truth.groupby("expression")["variant"].nunique()
    told = [
        f"{names[label]} {value:.2f}"
        for label, value in by_class.items()
        if several[names[label]] > 1
    ]
    return f"Here the variants are known; ARI with what was drawn: {', '.join(told)}."


def _search(journal: Journal, out: Path, model: Path) -> None:
    shown, archive, sheet = journal.shown(), out / "index", out / "sheet.png"
    journal.run(
        f"index {model} {shown} --out {archive}", index, DOMAIN, model, journal.data, archive
    )
    queries = test_queries(DOMAIN, model, journal.data, count=QUERIES)
    line = f"search {archive} {journal.shown(queries[0])} -k 8 --sheet {sheet}"
    options = {"k": 8, "sheet": sheet, "note": GENERATED, "quiet": True}
    journal.run(line, search, DOMAIN, archive, queries, **options)
    journal.card("Search sheet", "sheet.png", "Test faces and what is most alike.")


def _look_at_photographs(journal: Journal, out: Path, model: Path) -> None:
    """Several faces in a photograph, none in another."""
    photos, table = out / "photos", out / "faces.csv"
    write_photographs(photos)
    line = f"predict {model} {photos} --faces find --out {table}"
    detector = CascadeDetector()
    predictor = predictor_of([model], batch_size=64, device="cpu", tta="one")
    coverage = journal.run(line, predict_photos, predictor, photos, table, detector=detector)
    say(f"{table}: {coverage.told()}")
    write_photo_answers(out / "faces.png", table, photos)
    text = "Whole photographs: a row for each face that is found, and a row where there is none."
    journal.card("Photographs", "faces.csv", text)


def _watch(journal: Journal, out: Path, model: Path) -> None:
    """Two faces over time."""
    video, table, plot = out / "talk.mp4", out / "talk.csv", out / "talk.png"
    write_video(video)
    line = f"video {model} {video} --out {table} --plot {plot}"
    predictor = predictor_of([model], batch_size=64, device="cpu", tta="one")
    given = {"detector": CascadeDetector(share=SHARE), "plot": plot}
    watched = journal.run(line, predict_video, predictor, video, table, **given)
    say(f"{table}: {watched.told()}")
    text = "A generated video of two faces: frame, time, face, box and probabilities, row by row."
    journal.card("Video", "talk.csv", text)


def _show_faces(journal: Journal, out: Path) -> None:
    write_faces(out / "generated.png")
    readme = (journal.data / "readme.txt").relative_to(out).as_posix()
    text = "A column for each expression and a row for each made-up head: nobody in it is real."
    journal.card("Generated faces", readme, text, "generated.png")
