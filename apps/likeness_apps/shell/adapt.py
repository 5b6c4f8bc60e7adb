"""What follows where the person did not decide: bands, classes of a batch, warm-up of a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from likeness.errors import require
from likeness.sampling.factory import (
    AnySamplerSpec,
    ClassBalancedSpec,
    ClipsSpec,
    CrossModalSpec,
    HardClassesSpec,
    RepresentativesSpec,
)
from likeness.training.spec import RunSpec
from likeness_apps.shell.console import say
from likeness_apps.shell.data import Prepared

_OF_CLASSES = (ClassBalancedSpec, ClipsSpec, RepresentativesSpec, CrossModalSpec, HardClassesSpec)


def fit_warmup(
    raw: dict[str, Any], *, config: str | None, changes: Sequence[str], quiet: bool = False
) -> dict[str, Any]:
    """Half the run as warm-up, where a shipped configuration has more than a short trial lasts.

    Args:
        raw: the configuration with its changes, not yet checked.
        config: see `adapt`.
        changes: see `adapt`.
        quiet: say nothing.
    """
    epochs, schedule = raw.get("epochs"), raw.get("schedule")
    if _wrote(config, changes, "schedule") or not isinstance(schedule, dict):
        return raw
    warmup = schedule.get("warmup_epochs", 0)
    if not isinstance(epochs, int) or not 0 < epochs < warmup:
        return raw
    half = epochs / 2
    told = f"schedule.warmup_epochs={half:g} instead of {warmup:g}"
    say(f"A run of so few epochs is a trial: {told}", quiet=quiet)
    return {**raw, "schedule": {**schedule, "warmup_epochs": half}}


def adapt(
    spec: RunSpec,
    prepared: Prepared,
    *,
    raw: Mapping[str, Any],
    config: str | None,
    changes: Sequence[str],
    quiet: bool = False,
) -> RunSpec:
    """Fit a configuration to the data, and say so; what the person wrote is never changed.

    Args:
        spec: the configuration.
        prepared: the data.
        raw: the configuration before defaults were filled in.
        config: the shipped name or the file that it came from; None is the default.
        changes: the `a.b=c` items on top.
        quiet: say nothing.

    Raises:
        UserError: if the person asked for other bands than the images have.
    """
    spec = _with_bands(spec, prepared.bands, raw["model"].get("bands"))
    if _wrote(config, changes, "sampler"):
        return spec
    return _with_classes(spec, prepared, quiet=quiet)


def _wrote(config: str | None, changes: Sequence[str], group: str) -> bool:
    """Whether the person wrote these options, in a file or on the command line."""
    own_file = config is not None and Path(config).suffix in (".yaml", ".yml")
    return own_file or any(change.strip().startswith(group) for change in changes)


def _with_bands(spec: RunSpec, bands: int, given: int | None) -> RunSpec:
    if given is None and spec.model.bands != bands:
        return spec.model_copy(update={"model": spec.model.model_copy(update={"bands": bands})})
    fits = spec.model.bands == bands or (spec.model.bands == 3 and bands == 1)
    require(fits, "model.bands", f"the images' {bands}", spec.model.bands)
    return spec


def _with_classes(spec: RunSpec, prepared: Prepared, *, quiet: bool) -> RunSpec:
    """A batch of as many images from fewer classes, where the data have no more.

    It is smaller where that would be more of a class than the smallest one has.
    """
    sampler, classes = spec.sampler, len(prepared.labels.classes)
    if not isinstance(sampler, _OF_CLASSES) or sampler.classes_per_batch <= classes:
        return spec
    each = "clips_per_class" if isinstance(sampler, ClipsSpec) else "per_class"
    before = getattr(sampler, each)
    most = max(before, _fewest(sampler, prepared.manifest.rows("train")))
    fitted = min(sampler.classes_per_batch * before // classes, most)
    if isinstance(sampler, CrossModalSpec):
        fitted -= fitted % 2  # half of it of each modality
    told = f"sampler.classes_per_batch={classes} instead of {sampler.classes_per_batch}"
    if fitted != before:
        told += f", sampler.{each}={fitted} instead of {before}"
    say(f"The data have {classes} classes: {told}", quiet=quiet)
    changed = sampler.model_copy(update={"classes_per_batch": classes, each: fitted})
    return spec.model_copy(update={"sampler": changed})


def _fewest(sampler: AnySamplerSpec, training: pd.DataFrame) -> int:
    """Images (of `clips` sequences) that the smallest class has for a batch."""
    if isinstance(sampler, CrossModalSpec) and "modality" in training:
        return 2 * int(training.groupby(["label", "modality"]).size().min())
    if isinstance(sampler, ClipsSpec) and "tracklet" in training:
        return int(training.groupby("label")["tracklet"].nunique().min())
    return int(training["label"].value_counts().min())
