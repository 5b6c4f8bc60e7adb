"""Several models that answer as one: the mean of their probabilities.

Legend: N images, D = sum of the members' embedding dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from likeness.data.decode import read_bytes
from likeness.errors import require
from likeness.inference.averaging import mean_reading
from likeness.inference.blocks import Answers
from likeness.inference.predictor import Predictor
from likeness.inference.readers import AnyReader, LabelReader


class Ensemble:
    """What `blocks.Model` asks for, from several Predictors with the same classes.

    Probabilities are the mean of the members'; the label follows from it (the most probable class;
    of labels that are independent of each other those that reach the mean of the members'
    thresholds). There are no common logits. Embeddings are the members' side by side, divided by
    the square root of their number: the cosine, inner product or squared distance of two such rows
    is the mean of the members'. An image is out of scope if more than half of the members that
    know a scope say so.

    Attributes:
        members: who is asked.
        classes: as every member has them.
        reader: decides on mean probabilities; None without classes.
        space: of the embeddings.
        batch_size: of the first member.
        threads: of the first member.
    """

    def __init__(self, members: Sequence[Predictor]) -> None:
        """Take the members together.

        Raises:
            UserError: if there are fewer than two, one of them twice, or their classes, their kind
                of labels or their spaces differ.
        """
        require(len(members) >= 2, "models", "two or more", len(members))
        first = members[0]
        for other in members[1:]:
            got, rule = other.model_id, f"a model with the classes of {first.model_id}"
            require(list(other.classes) == list(first.classes), "also", rule, got)
            rule = f"a model with the same kind of labels as {first.model_id}"
            require(type(other.reader) is type(first.reader), "also", rule, got)
            rule = f"a model with the space of {first.model_id}, {first.space}"
            require(other.space == first.space, "also", rule, f"{got} with {other.space}")
        ids = [member.model_id for member in members]
        require(len(set(ids)) == len(ids), "also", "another model each time", ", ".join(ids))
        self.members = list(members)
        self.classes = first.classes
        self.space = first.space
        self.batch_size = first.batch_size
        self.threads = first.threads
        self.reader = _reader(members)

    @property
    def model_id(self) -> str:
        """The ids of all members, joined by `+`."""
        return "+".join(member.model_id for member in self.members)

    @property
    def embedding_dim(self) -> int:
        """D."""
        return sum(member.embedding_dim for member in self.members)

    @property
    def num_logits(self) -> int:
        """None are common to all."""
        return 0

    @property
    def settings(self) -> dict[str, Any]:
        """Those of every member, by its id."""
        return {"ensemble": {member.model_id: member.settings for member in self.members}}

    @property
    def terms(self) -> dict[str, str]:
        """The first member's, with the licences of all data."""
        licences = dict.fromkeys(member.terms["data_licence"] for member in self.members)
        return {**self.members[0].terms, "data_licence": "; ".join(licences)}

    def prepare(self, source: Path | bytes, *, beside: Path | None = None) -> list[Tensor]:
        """Read one file (or take its bytes) once, and make it ready for every member.

        Raises:
            DecodeError: if a member cannot use it.
        """
        data = source if isinstance(source, bytes) else read_bytes(source)
        where = beside if isinstance(source, bytes) else source
        ready: list[Tensor] = []
        for place, member in enumerate(self.members):
            made = [one.preprocessing for one in self.members[:place]]
            if member.preprocessing in made:  # folds mostly agree
                ready.append(ready[made.index(member.preprocessing)])
            else:
                ready.append(member.prepare(data, beside=where))
        return ready

    def answer(self, prepared: Sequence[list[Tensor]]) -> Answers:
        """Ask every member; rows of nan where one of them gave no usable answer."""
        asked = zip(self.members, zip(*prepared, strict=True), strict=True)
        answers = [member.answer(images) for member, images in asked]
        decide = None if self.reader is None else self.reader.decide
        labels_N, probabilities_NC = mean_reading(answers, decide)
        beside_ND = np.concatenate([one.embeddings_ND for one in answers], axis=1)
        return Answers(
            embeddings_ND=beside_ND / np.float32(np.sqrt(len(answers))),
            logits_NL=np.empty((len(prepared), 0), np.float32),
            labels_N=labels_N,
            probabilities_NC=probabilities_NC,
            outside=_outside([one.outside for one in answers if one.outside]),
        )


def _reader(members: Sequence[Predictor]) -> AnyReader | None:
    """The first member's, with thresholds that are the mean of all."""
    reader = members[0].reader
    if not isinstance(reader, LabelReader):
        return reader
    readers = [one.reader for one in members if isinstance(one.reader, LabelReader)]
    return replace(reader, thresholds_C=np.mean([one.thresholds_C for one in readers], axis=0))


def _outside(told: Sequence[Sequence[str]]) -> list[str]:
    """The first reason against each image that most members refuse; [] if nobody looked."""
    found = []
    for reasons in zip(*told, strict=True):
        against = [reason for reason in reasons if reason]
        found.append(against[0] if 2 * len(against) > len(reasons) else "")
    return found
