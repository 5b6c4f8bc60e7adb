"""One network of a benchmark: trained on the training classes for a fixed budget, then asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from likeness.data.checks import CheckResult, check
from likeness.data.dataset import ImageRows
from likeness.data.findings import condense
from likeness.data.manifest import Manifest
from likeness.data.transforms import Preprocessing
from likeness.errors import require
from likeness.provenance import hash_table
from likeness.search.space import prepared as prepared_rows
from likeness.training.assemble import assemble
from likeness.training.data import TrainingData
from likeness.training.distributed import build_fabric
from likeness.training.loop import fit
from likeness.training.spec import RunSpec
from likeness_apps.benchmark.protocol import Found, measured
from likeness_apps.shell.adapt import adapt
from likeness_apps.shell.console import progress, say
from likeness_apps.shell.data import Prepared
from likeness_apps.shell.finish import Raw, answer, require_finite
from likeness_apps.shell.setup import Setup, Split, set_up
from likeness_apps.shell.tasks import SingleLabel

MOST_UNREADABLE = 0.05


def readable(manifest: Manifest, *, quiet: bool = False) -> Manifest:
    """The set without what cannot be read, every file looked at once; says what is left out.

    Raises:
        UserError: if that is more than 5 % of it.
    """
    with progress("checking", quiet=quiet) as advance:
        table = check(manifest, near_distance=None, on_progress=advance).table
    bad = table[table["status"] != "ok"]
    rule = f"at most {MOST_UNREADABLE:.0%} of the images"
    fits = len(bad) <= MOST_UNREADABLE * len(table)
    require(fits, "unreadable images", rule, f"{len(bad)} of {len(table)}")
    for row in bad.head(10).itertuples():
        say(f"left out: {row.path}: {row.reason}", quiet=quiet)
    for finding in condense(item for item in manifest.findings if item.level == "error"):
        say(finding.line(), quiet=quiet)
    return manifest.with_table(table[table["status"] == "ok"])


def prepared(manifest: Manifest) -> Prepared:
    """A divided set, ready for `set_up`; nobody is kept for validation.

    A training class with a single image is left out: it has no pair.
    """
    used = _with_pairs(manifest)
    bands, dtype = used.rows("train").groupby(["bands", "dtype"]).size().idxmax()
    data_hash = hash_table(used.table[["path", "label", "split", "sha256"]])
    return _ready(used, int(bands), str(dtype), data_hash)


def _with_pairs(manifest: Manifest) -> Manifest:
    """The set without training classes of a single image."""
    table = manifest.table
    counts = table.loc[table["split"] == "train", "label"].value_counts()
    single = set(counts.index[counts < 2])
    return manifest.with_table(table[(table["split"] != "train") | ~table["label"].isin(single)])


def _ready(used: Manifest, bands: int, dtype: str, data_hash: str) -> Prepared:
    classes = sorted(used.rows("train")["label"].unique())
    require(len(classes) >= 2, "data", "two training classes of two images or more", len(classes))
    return Prepared(
        manifest=used,
        checked=CheckResult(used.table, ()),
        labels=SingleLabel(classes),
        dropped=[],
        bands=bands,
        dtype=dtype,
        data_hash=data_hash,
    )


def require_trainable(spec: RunSpec, manifest: Manifest, *, changes: Sequence[str] = ()) -> None:
    """Refuse a configuration whose training could not begin, before a file is read.

    What only files tell (bands, type of pixels) is taken to fit.

    Args:
        spec: the configuration.
        manifest: a divided set.
        changes: what the person set.

    Raises:
        UserError: if parts do not fit each other or the classes.
    """
    bands = spec.model.bands
    ready = _ready(_with_pairs(manifest), bands, "uint8", "")
    unread = spec.data.model_copy(update={"cache_gib": 0.0, "steps": ()})
    blank = Preprocessing(
        size=spec.model.image_size, bands=bands, mean=[0] * bands, std=[1] * bands
    )
    spec = spec.model_copy(update={"data": unread})
    setup = built(spec, ready, changes=changes, quiet=True, preprocessing=blank)
    fabric = build_fabric(spec.precision)
    fabric.launch()
    assemble(
        *(Path(), setup.spec, setup.embedder, setup.objective, _learned(setup), setup.plan),
        fabric=fabric,
        make_method=None,
        hooks=(),
        checkpoint_steps=None,
    )


def build(
    spec: RunSpec,
    manifest: Manifest,
    *,
    changes: Sequence[str] = (),
    quiet: bool = True,
    preprocessing: Preprocessing | None = None,
) -> Setup:
    """All that a network is made of before its first step.

    Args:
        spec: the configuration; `monitor` and `patience` are put aside, for nothing is chosen.
        manifest: a divided set without unreadable images.
        changes: what the person set, which is never fitted to the data.
        quiet: say nothing.
        preprocessing: see `set_up`.

    Raises:
        UserError: if parts do not fit each other or the data.
    """
    ready = prepared(manifest)
    return built(spec, ready, changes=changes, quiet=quiet, preprocessing=preprocessing)


def built(
    spec: RunSpec,
    ready: Prepared,
    *,
    changes: Sequence[str],
    quiet: bool,
    preprocessing: Preprocessing | None = None,
) -> Setup:
    """As `build`, of a set that is prepared."""
    fixed = spec.model_copy(update={"monitor": None, "patience": None})
    raw = fixed.model_dump(mode="json", exclude_unset=True)
    fitted = adapt(fixed, ready, raw=raw, config=None, changes=changes, quiet=quiet)
    return set_up(fitted, ready, quiet=quiet, preprocessing=preprocessing)


def train(
    setup: Setup, out: Path, *, teacher_NT: np.ndarray | None = None, quiet: bool = True
) -> None:
    """Train for the whole budget; goes on where it was stopped. The weights stay in the network.

    Args:
        setup: of `build`.
        out: the run's directory.
        teacher_NT: of `taught`, for a configuration that learns from a teacher.
        quiet: no progress.
    """
    data = _learned(setup, teacher_NT)
    parts = (out, setup.spec, setup.embedder, setup.objective, data, setup.plan)
    fit(*parts, resume=True, quiet=quiet)


def _learned(setup: Setup, teacher_NT: np.ndarray | None = None) -> TrainingData:
    """What is trained on."""
    training = setup.splits["train"]
    return TrainingData(
        images=training.images,
        labels=torch.from_numpy(training.targets),
        names=training.table["path"].tolist(),
        columns={name: torch.from_numpy(codes) for name, codes in training.columns.items()},
        hash=setup.run_hash,
        teacher=None if teacher_NT is None else torch.from_numpy(teacher_NT),
    )


def taught(teacher: Setup) -> np.ndarray:
    """The embeddings of the training images by a trained teacher, as it compares them."""
    manifest = teacher.prepared.manifest
    rows = manifest.rows("train").reset_index(drop=True)
    return prepared_rows(answers(teacher, rows).embeddings_ND, teacher.spec.model.space, "teacher")


def asked(setup: Setup) -> Found:
    """What the network finds among the test classes.

    Raises:
        UserError: if an answer is not finite.
    """
    manifest = setup.prepared.manifest
    rows = manifest.rows("test").reset_index(drop=True)
    raw = answers(setup, rows)
    tested = rows.iloc[raw.kept_N]
    return measured(raw.embeddings_ND, tested, manifest.layout, setup.spec.model.space)


def answers(setup: Setup, rows: pd.DataFrame) -> Raw:
    """What the network says of images as they are, without random changes.

    Args:
        setup: with the network.
        rows: of its manifest, numbered from 0.

    Raises:
        UserError: if an answer is not finite.
    """
    images = ImageRows(setup.prepared.manifest.root, rows["path"].tolist(), setup.preprocessing)
    split = Split(images, np.zeros(len(rows), np.int64), rows)  # nobody tested is a class
    raw = answer(setup.embedder, split)
    require_finite(raw, split)
    return raw


def seeded(spec: RunSpec, seed: int) -> RunSpec:
    """The configuration of a repeat."""
    return spec.model_copy(update={"seed": spec.seed + seed})
