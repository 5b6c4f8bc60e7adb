"""Answers to a run of images, in order, where a bad image is a row and never a stop.

Legend: N = images of a batch that could be read, B = all images of the batch, C = classes,
L = outputs of the class layer (C or 0), D = embedding dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import compress, islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from likeness.errors import UserError
from likeness.inference.readouts import label_cells
from likeness.threads import prefetched

OK, ERROR, OUT_OF_SCOPE = "ok", "error", "out_of_scope"


class Answers(NamedTuple):
    """What a model says of N images.

    Attributes:
        embeddings_ND: float32, as the model's space compares them (unit rows for `cosine`).
        logits_NL: float32 raw logits of the class layer, L = C or 0 for a model without one.
        labels_N: class numbers by the model's readout, (N,); of a multi-label model (N, C) of 0
            and 1.
        probabilities_NC: float32, of the same readout, before any rounding; rows sum to 1 but in a
            multi-label model, where each label has its own.
        outside: why an image is out of scope, "" for one that is not; () if nobody looked.
    """

    embeddings_ND: Float[np.ndarray, "N D"]
    logits_NL: Float[np.ndarray, "N L"]
    labels_N: Int[np.ndarray, "N ..."]
    probabilities_NC: Float[np.ndarray, "N C"]
    outside: Sequence[str] = ()


@runtime_checkable
class Embeds(Protocol):
    """What all models have, whatever they are asked; `predictor.Predictor` is one."""

    @property
    def embedding_dim(self) -> int:
        """D."""

    @property
    def num_logits(self) -> int:
        """L: outputs of the class layer, 0 without one."""

    @property
    def batch_size(self) -> int:
        """Images per call."""


@runtime_checkable
class Model(Embeds, Protocol):
    """What can be run over many images; `predictor.Predictor` is one."""

    @property
    def model_id(self) -> str:
        """Names the weights."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the columns of `probabilities_NC`; empty if the model has no readout."""

    @property
    def threads(self) -> int:
        """Threads that decode."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Plain data: all but the weights that changes the answers."""

    @property
    def terms(self) -> Mapping[str, str]:
        """Text about the model that must travel with its answers: space, licence of the data."""

    def prepare(self, source: Path | bytes, *, beside: Path | None = None) -> Any:
        """Read one image file, or take its bytes (read from `beside`); called from several threads.

        Raises:
            Exception: of any kind, if the image cannot be used.
        """

    def answer(self, prepared: Sequence[Any]) -> Answers:
        """Answer at most `batch_size` prepared images."""


@dataclass(frozen=True)
class Failure:
    """Why there is no answer, in one line."""

    reason: str


@dataclass(frozen=True, eq=False)
class Block:
    """Answers to B images in order; failed rows hold nan and "".

    Attributes:
        ok_B: whether the row has an answer.
        reasons: why not, "" where there is one.
        labels: class names; of a multi-label model all names with `|` between, "" for none.
        embeddings_BD, logits_BL, probabilities_BC: see `Answers`.
        outside: why the image of an answered row is out of scope, "" for others; the answer is
            there all the same until it is `withheld`.
    """

    ok_B: Bool[np.ndarray, " B"]
    reasons: list[str]
    labels: list[str]
    embeddings_BD: Float[np.ndarray, "B D"]
    logits_BL: Float[np.ndarray, "B L"]
    probabilities_BC: Float[np.ndarray, "B C"]
    outside: list[str]

    @property
    def status(self) -> list[str]:
        """`ok`, `error` or, of a row whose answer was withheld, `out_of_scope`."""
        pairs = zip(self.ok_B, self.outside, strict=True)
        return [OK if ok else OUT_OF_SCOPE if outside else ERROR for ok, outside in pairs]

    def withheld(self) -> Block:
        """The same without the answers to images that are out of scope: what `predict` gives."""
        out_B = np.array([bool(text) for text in self.outside], dtype=bool)
        if not out_B.any():
            return self
        why = zip(self.outside, self.reasons, strict=True)
        named = zip(out_B, self.labels, strict=True)
        return Block(
            ok_B=self.ok_B & ~out_B,
            reasons=[outside or reason for outside, reason in why],
            labels=["" if out else label for out, label in named],
            embeddings_BD=np.where(out_B[:, None], np.float32(np.nan), self.embeddings_BD),
            logits_BL=np.where(out_B[:, None], np.float32(np.nan), self.logits_BL),
            probabilities_BC=np.where(out_B[:, None], np.float32(np.nan), self.probabilities_BC),
            outside=self.outside,
        )

    def marked(self, kept_B: Bool[np.ndarray, " B"]) -> Block:
        """The marked rows alone."""
        return Block(
            ok_B=self.ok_B[kept_B],
            reasons=list(compress(self.reasons, kept_B)),
            labels=list(compress(self.labels, kept_B)),
            embeddings_BD=self.embeddings_BD[kept_B],
            logits_BL=self.logits_BL[kept_B],
            probabilities_BC=self.probabilities_BC[kept_B],
            outside=list(compress(self.outside, kept_B)),
        )


def attempt(work: Callable[[Any], Any], item: Any, root: Path | None = None) -> Any:
    """`work(item)`, or a Failure: a file can make decoders raise almost anything.

    Args:
        work: what may fail.
        item: its argument.
        root: a folder whose name is left out of the reason.
    """
    try:
        return work(item)
    except Exception as error:  # one bad file never stops a batch
        text = getattr(error, "reason", None) or str(error).strip() or type(error).__name__
        if not isinstance(error, UserError | OSError):
            text = f"{type(error).__name__}: {text}"
        if root is not None:
            text = text.replace(f"{root}/", "")
        return Failure(" ".join(text.split()))


def answer_block(model: Model, prepared: Sequence[Any]) -> Block:
    """Answer a batch of which some images may be Failures.

    An answer that is not finite (the image held nan, or the embedding is zero and has no direction
    in the cosine space) is a failure too.
    """
    failures = [item if isinstance(item, Failure) else None for item in prepared]
    reasons = [failure.reason if failure is not None else "" for failure in failures]
    good_N = np.flatnonzero([failure is None for failure in failures])
    total = len(prepared)
    if not len(good_N):
        return _failed(model, reasons)
    answers = model.answer([prepared[row] for row in good_N.tolist()])
    finite_N = np.isfinite(answers.embeddings_ND).all(axis=1)
    finite_N &= np.isfinite(answers.probabilities_NC).all(axis=1)
    for row in good_N[~finite_N]:
        reasons[row] = "the model's answer is not finite, or its embedding is zero"
    rows_N = good_N[finite_N]
    ok_B = np.zeros(total, dtype=bool)
    ok_B[rows_N] = True
    labels, outside = [""] * total, [""] * total
    for row, why in compress(zip(good_N.tolist(), answers.outside, strict=False), finite_N):
        outside[row] = why
    if len(model.classes):
        named = label_cells(answers.labels_N[finite_N], model.classes)
        for row, name in zip(rows_N.tolist(), named, strict=True):
            labels[row] = name

    def spread(array: np.ndarray) -> np.ndarray:
        full = np.full((total, array.shape[1]), np.nan, dtype=np.float32)
        full[rows_N] = array[finite_N]
        return full

    return Block(
        ok_B=ok_B,
        reasons=reasons,
        labels=labels,
        embeddings_BD=spread(answers.embeddings_ND),
        logits_BL=spread(answers.logits_NL),
        probabilities_BC=spread(answers.probabilities_NC),
        outside=outside,
    )


def answer_prepared(
    model: Model, prepared: Iterator[Any], count: int | None = None
) -> Iterator[Block]:
    """Answer the next `count` prepared images (None: all), one block per batch."""
    stream = prepared if count is None else islice(prepared, count)
    while batch := list(islice(stream, model.batch_size)):
        yield answer_block(model, batch)


def prepare_all(model: Model, paths: Iterable[str], root: Path) -> Iterator[Any]:
    """Read the images ahead in threads; what cannot be read is a Failure at its place."""
    return prefetched(
        paths,
        lambda path: attempt(model.prepare, root / path, root) if path else Failure("no path"),
        threads=model.threads,
        ahead=model.batch_size + model.threads,
    )


def answer_paths(model: Model, paths: Iterable[str], root: Path) -> Iterator[Block]:
    """Answer images by path, in order, one block per batch; memory is bounded by a batch or two.

    Args:
        model: who answers.
        paths: relative to `root`.
        root: a folder.
    """
    prepared = prepare_all(model, paths, root)
    with closing(prepared):  # type: ignore[type-var]
        yield from answer_prepared(model, prepared)


def _failed(model: Model, reasons: list[str]) -> Block:
    total, classes = len(reasons), len(model.classes)
    return Block(
        ok_B=np.zeros(total, dtype=bool),
        reasons=reasons,
        labels=[""] * total,
        embeddings_BD=np.full((total, model.embedding_dim), np.nan, dtype=np.float32),
        logits_BL=np.full((total, model.num_logits), np.nan, dtype=np.float32),
        probabilities_BC=np.full((total, classes), np.nan, dtype=np.float32),
        outside=[""] * total,
    )
