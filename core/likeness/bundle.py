"""A model is a directory: everything needed to use it elsewhere, and no pickle.

Files: `weights.safetensors` (the network, and under `readout.` the class centres and the training
gallery of the k-NN read-out, under `scope.` what training images look like, under `subclasses.`
where variants of the classes lie), `config.yaml`,
`labels.json` (the classes, and whether an image may have several), `preprocessing.json`,
`splits.csv`, `metrics.json`, `provenance.json` (with the SHA-256 of all others) and `README.md`
(the card).

Shapes: C = classes, D = embedding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from likeness.card import check_card
from likeness.config import parse
from likeness.data.manifest import split_labels
from likeness.data.transforms import Preprocessing
from likeness.errors import UserError, require
from likeness.files import atomic_directory, atomic_path, ordinary_mode, write_json, write_text
from likeness.models.embedder import Embedder, build_embedder
from likeness.models.pretrained import first_difference
from likeness.models.spec import ModelSpec, Space
from likeness.provenance import (
    PROVENANCE_FILE,
    SPLIT_COLUMNS,
    UNREADABLE,
    WEIGHTS_FILE,
    read_provenance,
    resolve_model,
    seal,
)
from likeness.readout_record import BESIDE, Gallery, Readouts, read_readouts
from likeness.scope_record import ScopeRecord
from likeness.subclasses.record import SubclassRecord

__all__ = ["Bundle", "Gallery", "load_bundle", "save_bundle"]

_ID_LENGTH = 12


@dataclass(frozen=True)
class Bundle:
    """A model directory, read and verified.

    Attributes:
        embedder: the network, on the CPU, in evaluation mode.
        config: the resolved configuration of the run; `model` holds the ModelSpec.
        classes: class names; their order is the order of the logits.
        preprocessing: from a decoded image to the network's input.
        splits: which row was in which split, with content hashes; all columns text.
        metrics: what was measured on validation data.
        provenance: see `likeness.provenance`.
        card: the model card, Markdown.
        centres_CD: class centres in the embedding, or None.
        gallery: the training embeddings for the k-NN read-out, or None.
        model_id: the first 12 hexadecimal digits of the weights' SHA-256.
        path: the directory.
        multilabel: whether an image may have several of the classes.
        scope: what the training images look like; None: every image is answered.
        subclasses: variants found in the classes; None where nobody looked for any.
    """

    embedder: Embedder
    config: dict[str, Any]
    classes: list[str]
    preprocessing: Preprocessing
    splits: pd.DataFrame
    metrics: dict[str, Any]
    provenance: dict[str, Any]
    card: str
    centres_CD: Float[Tensor, "C D"] | None
    gallery: Gallery | None
    model_id: str
    path: Path
    multilabel: bool = False
    scope: ScopeRecord | None = None
    subclasses: SubclassRecord | None = None

    @property
    def space(self) -> Space:
        """How embeddings are compared."""
        return self.embedder.spec.space

    @property
    def data_licence(self) -> str | None:
        """The licence of the training data; None where `train` was not told."""
        licence = self.provenance.get("data_licence")
        return str(licence) if licence else None

    def gallery_rows(self) -> pd.DataFrame | None:
        """The rows of `splits` behind the gallery, in its order; None if they cannot be told.

        A gallery without row numbers is the training split in order if it has as many items and
        their labels agree one by one.
        """
        if self.gallery is None:
            return None
        if self.gallery.rows_M is not None:
            return self.splits.iloc[self.gallery.rows_M.tolist()]
        rows = self.splits[self.splits["split"] == "train"]
        labels, cells = self.gallery.labels_M.tolist(), rows["label"].tolist()
        if self.multilabel:
            known = [set(split_labels(cell)) for cell in cells]
            same = known == [set(compress(self.classes, has)) for has in labels]
        else:
            same = cells == [self.classes[label] for label in labels]
        return rows if same else None


def save_bundle(
    directory: Path | str,
    embedder: Embedder,
    *,
    config: Mapping[str, Any],
    classes: list[str],
    preprocessing: Preprocessing,
    splits: pd.DataFrame,
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
    card: str,
    centres_CD: Float[Tensor, "C D"] | None = None,
    gallery: Gallery | None = None,
    multilabel: bool = False,
    scope: ScopeRecord | None = None,
    subclasses: SubclassRecord | None = None,
) -> str:
    """Write a model directory; killed at any moment it leaves the old model or the new one.

    Args:
        directory: the model directory, such as RUN/model.
        embedder: the network; its device and mode are left as they are.
        config: plain data; `model`, where given, must be the embedder's ModelSpec.
        classes: class names in the order of the logits.
        preprocessing: what the images went through; its bands and size are the model's.
        splits: at least `path`, `label`, `split`, `group`, `sha256`.
        metrics: plain data.
        provenance: as `collect_provenance` gives it, with `data_licence` where it is known.
        card: Markdown with the required sections, see `likeness.card`.
        centres_CD: class centres, finite.
        gallery: training embeddings and labels.
        multilabel: whether an image may have several of the classes.
        scope: what the training images look like; needs their gallery.
        subclasses: variants found in the classes.

    Returns:
        The model id.

    Raises:
        UserError: if the parts do not fit each other, if `directory` holds something else than a
            model, or if it cannot be written.
    """
    directory = Path(directory)
    spec = embedder.spec.model_dump(mode="json")
    settings = {**config, "model": spec}
    given = config.get("model", spec)
    require(given == spec, "config['model']", f"the embedder's own options, {spec!r}", given)
    _check_parts(embedder, classes, preprocessing)
    check_card(card)
    _check_splits(splits)
    readouts = Readouts(centres_CD, gallery, scope, subclasses)
    readouts.check(classes, embedder.embedding_dim, len(splits), multilabel=multilabel)
    _check_target(directory)
    with atomic_directory(directory) as new:
        _save_weights(new / WEIGHTS_FILE, {**embedder.state_dict(), **readouts.tensors()})
        write_text(
            new / "config.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        )
        write_json(new / "labels.json", {"classes": classes, "multilabel": multilabel})
        write_json(new / "preprocessing.json", preprocessing.model_dump(mode="json"))
        with atomic_path(new / "splits.csv") as table:
            splits.to_csv(table, index=False)
        write_json(new / "metrics.json", metrics)
        write_text(new / "README.md", card)
        sealed = seal(new, provenance)
        write_json(new / PROVENANCE_FILE, sealed)
    model_id: str = sealed["files"][WEIGHTS_FILE][:_ID_LENGTH]
    return model_id


def load_bundle(path: Path | str) -> Bundle:
    """Read a model directory, or the one in a run directory, and verify all of it.

    Args:
        path: a model or run directory.

    Raises:
        UserError: in one sentence, if it is no model, of another format version, incomplete,
            changed since it was written, or if its parts do not fit each other.
    """
    directory = resolve_model(path)
    provenance = read_provenance(directory)
    config = _read_config(directory / "config.yaml")
    spec = parse(ModelSpec, config["model"], f"{directory / 'config.yaml'}: model")
    classes, multilabel = _read_labels(directory / "labels.json")
    preprocessing = parse(
        Preprocessing,
        _read_json(directory / "preprocessing.json"),
        str(directory / "preprocessing.json"),
    )
    tensors = _load_weights(directory / WEIGHTS_FILE)
    embedder = _rebuild(spec, tensors, len(classes), directory)
    readouts = read_readouts(tensors)
    splits = pd.read_csv(directory / "splits.csv", dtype=str, keep_default_na=False)
    _check_parts(embedder, classes, preprocessing)
    readouts.check(classes, embedder.embedding_dim, len(splits), multilabel=multilabel)
    return Bundle(
        embedder=embedder,
        config=config,
        classes=classes,
        preprocessing=preprocessing,
        splits=splits,
        metrics=_read_json(directory / "metrics.json"),
        provenance=provenance,
        card=(directory / "README.md").read_text(encoding="utf-8"),
        centres_CD=readouts.centres_CD,
        gallery=readouts.gallery,
        model_id=provenance["files"][WEIGHTS_FILE][:_ID_LENGTH],
        path=directory,
        multilabel=multilabel,
        scope=readouts.scope,
        subclasses=readouts.subclasses,
    )


def _check_splits(splits: pd.DataFrame) -> None:
    missing = [name for name in SPLIT_COLUMNS if name not in splits.columns]
    require(not missing, "splits", f"a table with {', '.join(SPLIT_COLUMNS)}", list(splits.columns))


def _check_target(directory: Path) -> None:
    """Replace nothing but a model: a mistyped path must not cost a folder of images."""
    if not directory.exists():
        return
    replaceable = directory.is_dir() and (
        (directory / PROVENANCE_FILE).is_file() or not any(directory.iterdir())
    )
    require(replaceable, "out", "a new directory or an older model", str(directory))


def _check_parts(embedder: Embedder, classes: list[str], preprocessing: Preprocessing) -> None:
    spec, count = embedder.spec, len(classes)
    require(len(set(classes)) == count, "classes", "different names", classes)
    # A model without a class layer may still have centres, so it may name any classes.
    fits = embedder.num_classes in (0, count)
    require(fits, "classes", f"one name for each of {embedder.num_classes} logits", count)
    bands, size = preprocessing.bands, preprocessing.size
    require(bands == spec.bands, "preprocessing.bands", f"the model's {spec.bands}", bands)
    require(size == spec.image_size, "preprocessing.size", f"the model's {spec.image_size}", size)


def _save_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    # Copies in plain memory order: safetensors takes neither channels_last nor shared storage.
    copies = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    try:
        save_file(copies, path)
        path.chmod(ordinary_mode())  # safetensors writes for the owner only
    except SafetensorError as error:
        raise UserError(
            f"out must be a writable place with free space, got {path.parent}: {error}"
        ) from error


def _load_weights(path: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"model must hold whole weights, got {path}: {error}") from error
    # What was read is mapped memory: a copy survives whatever happens to the file.
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _rebuild(
    spec: ModelSpec, tensors: dict[str, Tensor], num_classes: int, directory: Path
) -> Embedder:
    """The network, filled with those of the weights that are its own."""
    network = {name: tensor for name, tensor in tensors.items() if not name.startswith(BESIDE)}
    outputs = num_classes if any(name.startswith("classifiers.") for name in network) else 0
    with torch.device("meta"):  # no random weights are drawn: loading leaves the generator alone
        embedder = build_embedder(spec.model_copy(update={"weights": "none"}), num_classes=outputs)
    difference = first_difference(embedder.state_dict(), network)
    if difference is not None:
        raise UserError(
            f"model must hold weights that fit its config.yaml, got {directory}: {difference}"
        )
    embedder.load_state_dict(network, assign=True)
    if spec.channels_last:
        embedder = embedder.to(memory_format=torch.channels_last)
    embedder.spec = spec  # keep where training started from
    return embedder.eval()


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, *UNREADABLE) as error:
        raise UserError(f"model must hold a readable config.yaml, got {path}") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise UserError(f"model must have a config.yaml with the key 'model', got {path}")
    return config


def _read_labels(path: Path) -> tuple[list[str], bool]:
    """The classes, and whether an image may have several; older models have one class each."""
    found = _read_json(path)
    classes, multilabel = found.get("classes"), found.get("multilabel", False)
    named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    if classes is None or not named:
        raise UserError(f"model must list its classes, got {path}")
    if not isinstance(multilabel, bool):
        raise UserError(f"model must say true or false under multilabel, got {path}")
    return classes, multilabel


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except UNREADABLE as error:
        raise UserError(f"model must hold a readable {path.name}, got {path}") from error
    if not isinstance(value, dict):
        raise UserError(f"model must hold a readable {path.name}, got {path}")
    return value
