"""The model that a run is distilled from: its embeddings of the training images, and its terms.

Shapes: N = training images, T = dimension of the teacher's embeddings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from likeness.bundle import Bundle, load_bundle
from likeness.card import Card, section_of
from likeness.errors import UserError, require
from likeness.files import atomic_path
from likeness.inference.blocks import answer_paths
from likeness.inference.predictor import Predictor
from likeness.training.checkpoint import has_checkpoint
from likeness_apps.shell.console import progress, say

if TYPE_CHECKING:
    from likeness_apps.shell.setup import Setup

CACHE = "teacher.safetensors"
_EMBEDDINGS = "embeddings"


@dataclass(frozen=True, eq=False)
class Teacher:
    """A model to learn from, read and verified; `given` is the path as the person wrote it."""

    bundle: Bundle
    given: Path

    @property
    def model_id(self) -> str:
        """For the provenance of what comes of it."""
        return self.bundle.model_id


def load_teacher(path: Path) -> Teacher:
    """Read a model or run directory.

    Raises:
        UserError: in one sentence, if there is no such model or it was changed.
    """
    return Teacher(load_bundle(path), path)


def with_distillation(raw: Mapping[str, Any], *, quiet: bool = False) -> dict[str, Any]:
    """A configuration that listens to a teacher: as it says, else by distances and angles.

    The weights are those of the official code (1 and 2); the relations are those of the student's
    embeddings as its space compares them, since by that it will be searched. What the
    configuration minimises besides stays.
    """
    given = raw.get("objective") or {}
    if not isinstance(given, Mapping):
        return dict(raw)  # to be refused by name
    objective = dict(given)
    if not objective.get("distillation"):
        model = raw.get("model")
        chosen = model.get("space", "cosine") if isinstance(model, Mapping) else "cosine"
        space = "cosine" if chosen == "cosine" else "euclidean"
        objective["distillation"] = [
            {"loss": {"name": "relational_distance", "space": space}, "weight": 1.0},
            {"loss": {"name": "relational_angle", "space": space}, "weight": 2.0},
        ]
        say("Distillation: distances x 1, angles x 2 (objective.distillation)", quiet=quiet)
    return {**raw, "objective": objective}


def taught_embeddings(
    teacher: Teacher, setup: Setup, out: Path, *, quiet: bool = False
) -> Float[Tensor, "N T"]:
    """The teacher's embeddings of the training images, by its own preprocessing, not augmented.

    They are computed once and kept in the run, whole or not at all; a resumed run takes them from
    there if they are of this teacher and these images, and as they were written.

    Raises:
        UserError: if the teacher cannot read an image, or the run has another teacher.
    """
    split, cache = setup.splits["train"], out / CACHE
    contents = zip(split.table["sha256"], split.table["path"], strict=True)
    listed = "\n".join(f"{content} {path}" for content, path in contents)
    key = {"teacher": teacher.model_id, "images": hashlib.sha256(listed.encode()).hexdigest()}
    known_NT, written = _read(cache)
    if known_NT is not None and {**written, **key} == written:
        return known_NT
    if has_checkpoint(out / "checkpoints") and "teacher" in written:
        rule = f"the model {written['teacher']}, as in the run to resume"
        require(written["teacher"] == teacher.model_id, "teacher", rule, teacher.model_id)
    known_NT = _embedded(teacher, setup, quiet=quiet)
    with atomic_path(cache) as temporary:
        save_file({_EMBEDDINGS: known_NT}, temporary, {**key, "sha256": _content(known_NT)})
    return known_NT


def terms_with(teacher: Teacher | None, licence: str | None) -> str | None:
    """The licence of a run's data and of its teacher's; None where one of them is not known."""
    if teacher is None or licence is None:
        return licence
    theirs = teacher.bundle.data_licence
    if theirs is None or theirs == licence:
        return theirs
    return f"{licence}; of the teacher's data: {theirs}"


def card_with(teacher: Teacher | None, card: Card) -> Card:
    """A student's card: what it was distilled from, and the teacher's limits besides its own."""
    if teacher is None:
        return card
    of, theirs = teacher.bundle, section_of(teacher.bundle.card, "Limits")
    spec = of.embedder.spec
    data = (
        f"{card.data}\n\nDistilled from the model {of.model_id} ({spec.backbone}, "
        f"{of.embedder.embedding_dim} numbers, {len(of.classes)} classes; licence of its data: "
        f"{of.data_licence or 'not stated'}): relations between its embeddings of the training "
        "images were learned beside the labels, and what it has wrong may have been learned, too."
    )
    limits = card.limits
    if theirs and theirs != card.limits.strip():
        limits = f"{limits}\n\nOf the model that it was distilled from:\n\n{theirs}"
    return replace(card, data=data, limits=limits)


def _embedded(teacher: Teacher, setup: Setup, *, quiet: bool) -> Tensor:
    images = setup.splits["train"].images
    predictor = Predictor(teacher.bundle, device="auto", columns="embed")
    parts, done = [], 0
    with progress("embedding by the teacher", quiet=quiet) as advance:
        for block in answer_paths(predictor, images.paths, images.root):
            for place, reason in enumerate(block.reasons):
                if reason:
                    raise UserError(
                        "teacher must be a model that can read every training image, got "
                        f"{teacher.given} and {images.paths[done + place]}: {reason}"
                    )
            parts.append(torch.from_numpy(block.embeddings_BD))
            done += len(block.reasons)
            advance(done, len(images.paths))
    return torch.cat(parts).float().contiguous()


def _read(cache: Path) -> tuple[Tensor | None, dict[str, str]]:
    """What the run keeps and what it says of it; None if there is nothing whole."""
    if not cache.is_file():
        return None, {}
    try:
        with safe_open(cache, framework="pt") as file:
            written = dict(file.metadata() or {})
            known_NT: Tensor = file.get_tensor(_EMBEDDINGS).clone()
    except (SafetensorError, OSError):
        return None, {}
    return (known_NT if written.get("sha256") == _content(known_NT) else None), written


def _content(known_NT: Tensor) -> str:
    return hashlib.sha256(known_NT.numpy().tobytes()).hexdigest()
