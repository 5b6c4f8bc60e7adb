"""`explain`: where the network looked in one image, what it said, and the most similar known cases.

For every image explanation.json, explanation.png and explanation.html: one image in OUT itself,
several each in a folder of OUT. Pictures of training lesions are in them only if their folder is
given.

Legend: C classes (or bands of an image), D embedding dimension, Y, X height and width of the
network's input, H, W of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from likeness.bundle import Bundle
from likeness.data.decode import DecodeError
from likeness.data.listing import images_in
from likeness.data.masked import View, view_of
from likeness.data.masks import scaled
from likeness.errors import UserError, require
from likeness.files import sha256_file, write_json, write_text
from likeness.inference.blocks import Block, answer_prepared, attempt
from likeness.inference.predictor import Predictor
from likeness_apps.shell.console import progress, say
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.generated import is_generated
from likeness_apps.shell.members import own_bundle
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.report.data import Picture
from likeness_apps.shell.results import eight_bit, thumbnail_of
from likeness_apps.shell.screening import screened
from likeness_apps.skin_lesion.cases.known_cases import KnownCases, known_cases
from likeness_apps.skin_lesion.clinical.measures import DISCLAIMER
from likeness_apps.skin_lesion.diagnoses import names_of
from likeness_apps.skin_lesion.explain.cases import Cases, Pictures, cases_of, find_files
from likeness_apps.skin_lesion.explain.maps import Seen, classes_to_explain, maps_of
from likeness_apps.skin_lesion.explain.page import explanation_page
from likeness_apps.skin_lesion.explain.picture import write_picture
from likeness_apps.skin_lesion.explain.words import known_as, line_of, notes_of
from likeness_apps.skin_lesion.layouts.dicom import patient_of

MOST = 50  # images of one call: each gets a page that somebody reads
SIDE = 480  # pixels of the longer side of the picture that the maps are drawn on
_GREY = 160


@dataclass(frozen=True, eq=False)
class Explanation:
    """All that is told of one image.

    Attributes:
        facts: explanation.json.
        picture_HW3: the image as the network sees it, uint8.
        seen: the maps over it.
        cases: the similar cases; None where there can be none (`facts["notes"]` says why).
        mask_HW: where the lesion is; None without a mask.
    """

    facts: dict[str, Any]
    picture_HW3: np.ndarray
    seen: Seen
    cases: Cases | None
    mask_HW: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Asked:
    """A model that explains, and the cases that it knows.

    Attributes:
        predictor: the model.
        bundle: what it was made from.
        known: its training lesions; None where `reason` says why.
        reason: why there are no similar cases; "" if there are.
        pictures: of training lesions; None without them.
        show: gives the picture of a file for people, None for one that must not be shown.
        k: cases for each image.
    """

    predictor: Predictor
    bundle: Bundle
    known: KnownCases | None
    reason: str
    pictures: Pictures | None
    show: Callable[[Path], Picture | None]
    k: int


def explain(
    domain: Domain,
    model: Path,
    image: Path,
    out: Path,
    *,
    k: int = 5,
    device: str = "cpu",
    cases: Path | None = None,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Explain one image, or each of a handful.

    Args:
        domain: the application.
        model: a bundle or a run.
        image: an image file (DICOM too), or a folder of at most `MOST` images.
        out: a new or empty directory.
        k: similar cases for each image.
        device: where the network runs, see `Predictor`.
        cases: the data set that the model was trained on: its pictures are then shown. None: names
            and diagnoses only.
        quiet: say nothing.

    Returns:
        What explanation.json of each image holds; one that cannot be read has a reason instead.

    Raises:
        UserError: if no image can be read, there are too many, or `out` is occupied.
    """
    require(k >= 1, "k", ">= 1", k)
    require_new(out)
    given = images_in(screened(domain, image, quiet=quiet))
    paths = given.table["path"].tolist()
    require(len(paths) <= MOST, "image", f"one image or a folder of at most {MOST}", len(paths))
    asked = prepare(domain, own_bundle(domain, model), k=k, device=device, cases=cases, quiet=quiet)
    told = []
    with progress("explaining", quiet=quiet) as advance:
        for done, path in enumerate(paths, start=1):
            place = out if len(paths) == 1 else out / _folder_of(path, done)
            told.append(_explain_file(asked, given.file(path), path, place, alone=place == out))
            advance(done, len(paths))
    good = [facts for facts in told if facts["status"] != "error"]
    if not good:
        raise UserError(f"image must be readable, got {paths[0]}: {told[0]['reason']}")
    for facts in told:
        say(line_of(facts), quiet=quiet)
    say(f"{out}: explanation.html, explanation.png, explanation.json. {DISCLAIMER}", quiet=quiet)
    return told


def prepare(
    domain: Domain,
    bundle: Bundle,
    *,
    k: int = 5,
    device: str = "cpu",
    cases: Path | None = None,
    quiet: bool = False,
) -> Asked:
    """Make a model ready to explain any number of images; arguments as in `explain`."""
    require(not bundle.multilabel, "model", "one with one class per image", "several labels")
    predictor = Predictor(bundle, device=device, batch_size=1, threads=1)
    try:
        known, reason = known_cases(bundle), ""
    except UserError as error:  # an older model explains its maps all the same
        known, reason = None, str(error)
    show, pictures = thumbnail_of(domain), None
    if cases is not None and known is not None:
        shown = screened(domain, cases, quiet=True)
        files = find_files(known, domain.recognise(shown), quiet=quiet)
        require(files, "cases", "the data set that the model was trained on", str(cases))
        pictures = Pictures(files, show)
    return Asked(predictor, bundle, known, reason, pictures, show, k)


def explain_image(asked: Asked, file: Path, name: str) -> Explanation | dict[str, Any]:
    """Explain one file; the facts alone if it cannot be read.

    Args:
        asked: model and cases.
        file: the image.
        name: what it is called.
    """
    predictor, bundle = asked.predictor, asked.bundle
    image_CYX = attempt(predictor.prepare, file, file.parent)
    block = next(answer_prepared(predictor, iter([image_CYX])))
    about = _about(asked, name)
    if not block.ok_B[0]:
        return about | {"status": "error", "reason": block.reasons[0]}
    try:
        view = view_of(file, bundle.preprocessing, side=SIDE)
    except DecodeError as error:
        return about | {"status": "error", "reason": error.reason}
    picture_HW3, mask_HW = _for_people(view)
    hidden = asked.show(file) is None
    if hidden:
        picture_HW3 = np.full_like(picture_HW3, _GREY)
    explained = _explained(bundle, block)
    seen = maps_of(
        predictor.embedder,
        image_CYX.to(predictor.device),
        bundle.classes,
        explained,
        (picture_HW3.shape[0], picture_HW3.shape[1]),
        mask_HW,
    )
    content = sha256_file(file)
    found = _cases(asked, file, block, content)
    facts = about | _answer(asked, block.withheld()) | known_as(bundle, content)
    facts["maps"] = [one.facts() for one in seen.maps]
    facts["attention_and_grad_cam"] = seen.agreement
    facts["similar"] = found.facts(facts["label"]) if found else None
    facts["mask"] = {"there": mask_HW is not None, "reason": view.mask_reason}
    facts["generated"] = is_generated(file.parent)
    facts["notes"] = notes_of(facts, seen, found, asked.reason, view, hidden=hidden)
    return Explanation(facts, picture_HW3, seen, found, mask_HW)


def _explain_file(
    asked: Asked, file: Path, name: str, place: Path, *, alone: bool
) -> dict[str, Any]:
    """Write the explanation of one file; json last, so that where it is the rest is whole."""
    made = explain_image(asked, file, name)
    if isinstance(made, dict):
        if not alone:
            write_json(place / "explanation.json", made)
        return made
    write_picture(place / "explanation.png", made)
    write_text(place / "explanation.html", explanation_page(made))
    write_json(place / "explanation.json", made.facts)
    return made.facts


def _about(asked: Asked, name: str) -> dict[str, Any]:
    return {
        "disclaimer": DISCLAIMER,
        "image": name,
        "model_id": asked.predictor.model_id,
        "data_licence": asked.bundle.data_licence,
        "status": "ok",
        "reason": "",
    }


def _answer(asked: Asked, block: Block) -> dict[str, Any]:
    """Label and probabilities as `predict` gives them."""
    label = block.labels[0]
    probabilities = zip(asked.predictor.classes, block.probabilities_BC[0].tolist(), strict=True)
    return {
        "status": block.status[0],
        "reason": block.reasons[0],
        "label": label,
        "diagnosis": names_of([label])[0] if label else "",
        "probabilities": {name: value for name, value in probabilities if not math.isnan(value)},
        "readout": asked.predictor.settings,
    }


def _explained(bundle: Bundle, block: Block) -> list[int]:
    """Classes whose maps are drawn: of an image out of scope the likeliest, all the same."""
    probabilities_C = block.probabilities_BC[0]
    if not len(probabilities_C) or np.isnan(probabilities_C).any():
        return classes_to_explain(bundle.classes, np.zeros(len(bundle.classes)), 0)[-1:]
    return classes_to_explain(bundle.classes, probabilities_C, int(probabilities_C.argmax()))


def _cases(asked: Asked, file: Path, block: Block, content: str) -> Cases | None:
    embedding_D = block.embeddings_BD[0]
    if asked.known is None or not np.isfinite(embedding_D).all():
        return None
    group = patient_of(file)
    return cases_of(file, embedding_D, group, content, asked.known, asked.pictures, k=asked.k)


def _for_people(view: View) -> tuple[np.ndarray, np.ndarray | None]:
    """The picture at `SIDE` pixels of its longer side, 8-bit RGB, and the mask at that size."""
    image = Image.fromarray(eight_bit(view.image_HWC))
    scale = SIDE / max(image.size)
    wide, tall = (max(1, round(length * scale)) for length in image.size)
    picture_HW3 = np.asarray(image.resize((wide, tall), Image.Resampling.BICUBIC))
    if view.mask_HW is None:
        return picture_HW3, None
    return picture_HW3, scaled(view.mask_HW, (tall, wide))


def _folder_of(path: str, number: int) -> str:
    """A folder name for one of several images; the number keeps equal names apart."""
    return f"{number:02d}-{Path(path).stem}"
