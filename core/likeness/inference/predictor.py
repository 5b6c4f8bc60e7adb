"""A model that answers images: picklable, callable on batches of paths, never stopped by one file.

Legend: N = images, H, W = pixels, C = bands of an image or classes of a table of probabilities,
D = embedding dimension.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from likeness.bundle import Bundle, load_bundle
from likeness.data.appearance import appearance
from likeness.data.cache import load_image
from likeness.data.stepped import step_image
from likeness.data.transforms import Preprocessing, match_bands, resize_image, to_tensor
from likeness.errors import require
from likeness.image_size import in_words
from likeness.inference.averaging import VIEWS, Views, mean_of_views, symmetric_views
from likeness.inference.blocks import (
    Answers,
    Block,
    answer_paths,
    answer_prepared,
    attempt,
)
from likeness.inference.readers import reader_of
from likeness.inference.readouts import ReadoutName
from likeness.inference.scope import Seen, scope_of
from likeness.inference.tables import EMBEDDING, probability_column
from likeness.models.heads import CLASS
from likeness.models.heads import EMBEDDING as HEAD
from likeness.models.spec import Space
from likeness.search.space import prepared

_DTYPES = ("uint8", "uint16", "float32")


class Predictor:
    """A bundle ready to answer.

    `predictor({"path": [...]})` gives a dict of columns, so a data-parallel framework can run it:
    `dataset.map_batches(Predictor, fn_constructor_args=(model,), batch_size=64)` in Ray Data. It
    can be pickled, network and all. `shards.predict` and `shards.embed` run it over any number of
    files.

    Attributes:
        classes: class names, in the order of the probabilities; empty if the bundle has nothing
            to read a class from.
        reader: how the class is read, or None.
        scope: tells images unlike the training images; None answers all: what the bundle has no
            record for, or embeddings are asked.
        views: how many views of an image are answered.
        batch_size: images per forward pass.
        threads: threads that decode.
    """

    def __init__(
        self,
        bundle: Bundle | Path | str,
        *,
        device: str = "cpu",
        batch_size: int = 64,
        threads: int | None = None,
        readout: ReadoutName | None = None,
        k: int = 5,
        columns: Literal["predict", "embed"] = "predict",
        root: Path | str = ".",
        views: Views = "one",
    ) -> None:
        """Load the network.

        Args:
            bundle: a model or run directory, or what `load_bundle` gave.
            device: where the network runs: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto` for an
                accelerator where there is one.
            batch_size: images per forward pass, >= 1.
            threads: threads that decode, >= 1; None takes one per processor, at most 8.
            readout: `softmax` (class layer), `gaussian` (of a model trained for Gaussian
                structure), `nearest_centre`, `nearest_subclass` or `knn` (exact, over the training
                embeddings); of a multi-label bundle `sigmoid` (class layer) or `knn`. None takes
                the first of these that the bundle has.
            k: neighbours of `knn`, each with one vote.
            columns: what a call gives: class probabilities or embeddings.
            root: the folder that paths of a call are relative to.
            views: test-time augmentation: the mean over the image (`one`) and its mirror image
                (`flips`), or its eight symmetries (`dihedral`), at as many times the work.

        Raises:
            UserError: if the bundle cannot be read or lacks what the readout needs, the device is
                not there, a number is out of range, or `dihedral` is asked of a model whose images
                are no squares.
        """
        loaded = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
        threads = min(8, os.cpu_count() or 1) if threads is None else threads
        require(batch_size >= 1, "batch_size", ">= 1", batch_size)
        require(threads >= 1, "threads", ">= 1", threads)
        require(columns in ("predict", "embed"), "columns", "predict or embed", columns)
        require(views in VIEWS, "views", f"one of {', '.join(VIEWS)}", views)
        size = loaded.preprocessing.size
        rule = f"one or flips for images of {in_words(size)} pixels, which are no squares"
        require(views != "dihedral" or isinstance(size, int), "views", rule, views)
        device = _accelerator() if device == "auto" else device
        require(_is_there(device), "device", "one that this machine has", device)
        self.batch_size = batch_size
        self.threads = threads
        self.columns = columns
        self.root = Path(root)
        self.device = device
        self.embedder = copy.deepcopy(loaded.embedder).to(device).eval()
        self.preprocessing: Preprocessing = loaded.preprocessing
        self.space: Space = loaded.space
        self.reader = reader_of(loaded, readout, k=k)
        self.classes: Sequence[str] = list(loaded.classes) if self.reader else []
        self.scope = scope_of(loaded) if columns == "predict" else None
        self.views: Views = views
        self._model_id = loaded.model_id
        self._licence = loaded.data_licence or "not stated"

    @property
    def model_id(self) -> str:
        """The first 12 hexadecimal digits of the weights' SHA-256."""
        return self._model_id

    @property
    def embedding_dim(self) -> int:
        """D."""
        return self.embedder.embedding_dim

    @property
    def num_logits(self) -> int:
        """Outputs of the class layer; 0 without one."""
        return self.embedder.num_classes

    @property
    def settings(self) -> dict[str, Any]:
        """All but the weights that changes the answers."""
        read = self.reader.settings if self.reader else {}
        return read if self.views == "one" else {**read, "views": self.views}

    @property
    def terms(self) -> dict[str, str]:
        """What must travel with the answers."""
        unit = "true" if self.space == "cosine" else "false"
        terms = {"space": self.space, "normalised": unit, "data_licence": self._licence}
        return terms if self.views == "one" else {**terms, "test_time_augmentation": self.views}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Answer the images at `batch["path"]`, relative to `root`.

        Args:
            batch: columns; those beside `path` are handed through.

        Returns:
            The columns of `batch`, then `status` (`ok`, `error`, or `out_of_scope` if the image is
            unlike those of the training and no embeddings are asked), `reason`, `model_id`, and
            `label` with one `p_<class>` per class, or `embedding` (N, D). Failed rows hold "" and
            nan. All are numpy arrays of one length. A multi-label model joins the labels with `|`.

        Raises:
            UserError: if there is no column `path`, or no class can be read from this bundle.
        """
        require("path" in batch, "batch", "columns with 'path'", sorted(batch))
        paths = [os.fspath(path) for path in batch["path"]]
        return {**batch, **self._columns(answer_paths(self, paths, self.root))}

    def predict_images(self, images: Iterable[Any]) -> dict[str, Any]:
        """Answer images in memory.

        Args:
            images: arrays (H, W, C) of uint8, uint16 or float32, as `likeness.data.decode` gives
                them; sizes may differ.

        Returns:
            As a call, without `path`. An array that does not fit is a failed row.
        """
        tensors = (attempt(self._prepare_array, image) for image in images)
        return self._columns(answer_prepared(self, tensors))

    def prepare(self, source: Path | bytes, *, beside: Path | None = None) -> Tensor:
        """Decode one file (or its bytes) by content as the network's input; thread-safe.

        `beside` is the file that bytes were read from: a step may look for its mask there.

        Raises:
            DecodeError: if it cannot be used.
        """
        image_HWC = load_image(source, self.preprocessing, beside=beside)
        return to_tensor(image_HWC, self.preprocessing)

    def answer(self, prepared: Sequence[Tensor]) -> Answers:
        """A forward pass for each view, and the readout; rows of nan without a usable answer."""
        images_NCHW = torch.stack(list(prepared))
        said = [self._forward(view) for view in symmetric_views(images_NCHW, self.views)]
        read = [self._read(raw_ND, logits_NL) for raw_ND, logits_NL in said]
        decide = None if self.reader is None else self.reader.decide
        answers = mean_of_views(read, self.space, decide)
        return answers._replace(outside=self._outside(images_NCHW, read[0].embeddings_ND))

    def raw(
        self, prepared: Sequence[Tensor]
    ) -> tuple[Float[np.ndarray, "N D"], Float[np.ndarray, "N L"]]:
        """Embeddings as the network gives them (not normalised) and logits, means over the views.

        For those who pool several images before they compare: see `inference.sets`.
        """
        images_NCHW = torch.stack(list(prepared))
        said = [self._forward(view) for view in symmetric_views(images_NCHW, self.views)]
        embeddings, logits = zip(*said, strict=True)
        return np.mean(embeddings, axis=0), np.mean(logits, axis=0)

    def _forward(self, images_NCHW: Tensor) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            outputs = self.embedder(images_NCHW.to(self.device))
            raw_ND = outputs.embeddings[HEAD].float().cpu().numpy()
            logits = outputs.logits.get(CLASS)
            logits_NL = np.empty((len(raw_ND), 0), np.float32)
            if logits is not None:
                logits_NL = logits.float().cpu().numpy()
        return raw_ND, logits_NL

    def _outside(self, images_NCHW: Tensor, embeddings_ND: np.ndarray) -> list[str]:
        """Why images are out of scope, as they are, whatever other views were answered."""
        if self.scope is None:
            return []
        usable_N = np.isfinite(embeddings_ND).all(axis=1)
        reasons = np.full(len(embeddings_ND), "", dtype=object)
        if usable_N.any():
            looks_NF = appearance(images_NCHW, self.preprocessing).numpy()
            seen = Seen(looks_NF[usable_N], embeddings_ND[usable_N])
            reasons[usable_N] = self.scope.reasons(seen)
        return list(reasons)

    def _read(self, raw_ND: np.ndarray, logits_NL: np.ndarray) -> Answers:
        usable_N = np.isfinite(raw_ND).all(axis=1) & np.isfinite(logits_NL).all(axis=1)
        if self.space == "cosine":
            usable_N &= (raw_ND != 0).any(axis=1)
        embeddings_ND = np.full_like(raw_ND, np.nan)
        probabilities_NC = np.full((len(raw_ND), len(self.classes)), np.nan, dtype=np.float32)
        if usable_N.any():
            embeddings_ND[usable_N] = prepared(raw_ND[usable_N], self.space, "embeddings")
        labels_N = np.full(len(raw_ND), -1, dtype=np.int64)
        if usable_N.any() and self.reader is not None:
            read = self.reader(embeddings_ND[usable_N], logits_NL[usable_N])
            labels_N = np.full((len(raw_ND), *read.labels_N.shape[1:]), -1, dtype=np.int64)
            labels_N[usable_N], probabilities_NC[usable_N] = read
        return Answers(embeddings_ND, logits_NL, labels_N, probabilities_NC)

    def _columns(self, blocks: Iterable[Block]) -> dict[str, Any]:
        embed = self.columns == "embed"
        require(embed or self.classes, "model", "one with classes or centres", self.model_id)
        done = [block if embed else block.withheld() for block in blocks]
        width = self.embedding_dim if embed else len(self.classes)
        parts = [block.embeddings_BD if embed else block.probabilities_BC for block in done]
        values = np.concatenate([np.empty((0, width), np.float32), *parts])
        columns: dict[str, Any] = {
            "status": _strings(text for block in done for text in block.status),
            "reason": _strings(text for block in done for text in block.reasons),
        }
        if embed:
            columns[EMBEDDING] = values
        else:
            columns["label"] = _strings(text for block in done for text in block.labels)
            for index, name in enumerate(self.classes):
                columns[probability_column(name)] = np.ascontiguousarray(values[:, index])
        columns["model_id"] = _strings([self.model_id] * len(values))
        return columns

    def _prepare_array(self, image: Any) -> Tensor:
        array = np.asarray(image)
        rule = f"an array (H, W, C) of {', '.join(_DTYPES)}"
        fits = array.ndim == 3 and array.size and array.dtype.name in _DTYPES
        require(fits, "image", rule, f"{array.shape} of {array.dtype}")
        bands, grey = self.preprocessing.bands, self.preprocessing.grey
        longest = max(self.preprocessing.height_width)
        whole, _ = step_image(array, self.preprocessing.steps, side=longest)
        matched = match_bands(whole, bands, grey=grey)
        return to_tensor(resize_image(matched, self.preprocessing), self.preprocessing)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if self.device != "cpu":
            state["embedder"] = copy.deepcopy(self.embedder).cpu()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.embedder = self.embedder.to(self.device)


def _strings(texts: Iterable[str]) -> Any:
    return np.array(list(texts), dtype=object)


def _accelerator() -> str:
    """What torch finds, or the processor."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return "cpu" if found is None else found.type


def _is_there(device: str) -> bool:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # what torch raises without CUDA is an AssertionError
        return False
    return True
