"""Who is trained on and who is tested: named protocols, folds, shares of a configuration."""

from __future__ import annotations

from typing import Any

import pandas as pd

from likeness.data.manifest import Manifest
from likeness.data.splits import (
    assert_no_leak,
    complete_splits,
    join_duplicates,
    split_by_group,
)
from likeness.errors import UserError, require
from likeness.training.spec import DataSpec
from likeness_apps.shell.domain import (
    Domain,
    Elsewhere,
    GivenFolds,
    GivenSplits,
    Protocol,
    Share,
)

HOLDOUT = "holdout"  # shares of a configuration, or splits of one's own
OWN_FOLDS = "own folds"  # a column `fold` without a named protocol


def named(domain: Domain, name: str, option: str = "protocol") -> Protocol:
    """A protocol of the application.

    Raises:
        UserError: if it has none of that name; `option` is what the person set.
    """
    known = ", ".join(domain.protocols) or "none"
    require(name in domain.protocols, option, f"one of {known}", name)
    return domain.protocols[name]


def trainable(domain: Domain, name: str | None) -> Protocol | None:
    """The protocol of a run that is about to be trained; None without one.

    Raises:
        UserError: if the application has none of that name, or nobody trains on its data.
    """
    if name is None:
        return None
    protocol = named(domain, name, "data.protocol")
    rule = "one whose data are trained on (this one is for `evaluate --protocol`)"
    require(not isinstance(protocol.split, Elsewhere), "data.protocol", rule, name)
    return protocol


def stated_split(domain: Domain, name: str | None, fold: int | None) -> dict[str, Any]:
    """What every result says of its split: `protocol`, its source, `fold` where there is one."""
    facts: dict[str, Any] = {"protocol": name or (HOLDOUT if fold is None else OWN_FOLDS)}
    if name is not None and name in domain.protocols:  # a model may be older than the list
        facts["protocol_source"] = domain.protocols[name].source
    return facts if fold is None else facts | {"fold": fold}


def stated_score(domain: Domain, name: str | None, fold: int | None) -> dict[str, Any]:
    """`stated_split` of figures that somebody else's predictions give, who may not say.

    Raises:
        UserError: if the application has no such protocol, or the protocol no such fold.
    """
    if name is None:
        return {"protocol": "none stated"} | ({} if fold is None else {"fold": fold})
    split = named(domain, name).split
    if isinstance(split, GivenFolds):
        known = fold is None or 1 <= fold <= split.count
        require(known, "fold", f"from 1 to {split.count} for protocol {name}", fold)
    else:
        require(fold is None, "fold", f"left out for protocol {name}, which has no folds", fold)
    return stated_split(domain, name, fold)


def split_rows(
    domain: Domain, manifest: Manifest, table: pd.DataFrame, spec: DataSpec, seed: int
) -> pd.DataFrame:
    """Give the rows their splits; a row without one is not used.

    Args:
        domain: the application, for its protocols.
        manifest: the data set.
        table: the readable, labelled rows of it.
        spec: `protocol`, `fold`, `test`, `val`, `groups`.
        seed: of what is random.

    Raises:
        UserError: if the protocol is unknown or made for other data, a fold is missing or none is
            chosen, or a group straddles.
    """
    protocol = trainable(domain, spec.protocol)
    if protocol is None:
        if spec.fold is None:
            return _by_shares(table, spec, seed)
        return _by_fold(table, spec, seed)
    name = f"data of protocol {spec.protocol}"
    require_its_data(manifest, protocol, name)
    match protocol.split:
        case GivenFolds(count):
            folds = sorted(set(_fold_numbers(table, name)) - {0})
            wanted = list(range(1, count + 1))
            require(folds == wanted, name, f"images in all folds from 1 to {count}", folds)
            return _by_fold(table, spec, seed, name)
        case _ if spec.fold is not None:
            rule = f"null for protocol {spec.protocol}, which has no folds"
            raise UserError(f"data.fold must be {rule}, got {spec.fold}")
        case GivenSplits():
            have = set(table["split"])
            rule = "split into train and test by lists or folders beside the images"
            require({"train", "test"} <= have, name, rule, sorted(have - {""}) or "no split")
            return _by_shares(table, spec, seed)
        case Share(training, groups):
            chosen = join_duplicates(table) if groups == "group" else table
            val, test = spec.val * training, 1.0 - training
            return split_by_group(chosen, val=val, test=test, seed=seed, groups=groups)
        case Elsewhere():
            raise AssertionError("`trainable` has refused it")


def require_its_data(manifest: Manifest, protocol: Protocol, name: str) -> None:
    """Refuse a set that a protocol is not made for.

    Raises:
        UserError: beginning with `name`: another layout, other labels, or a published set that is
            not whole.
    """
    layouts = protocol.layouts
    rule = f"in the layout {' or '.join(layouts)}"
    require(not layouts or manifest.layout in layouts, name, rule, manifest.layout)
    rule = "a set of images with several labels" if protocol.multilabel else "one label per image"
    require(manifest.multilabel == protocol.multilabel, name, rule, manifest.layout)
    if not isinstance(protocol.split, Share):
        broken = [f"{f.path}: {f.message}" for f in manifest.findings if f.level == "error"]
        got = broken[0] if broken else ""
        require(not broken, name, "as published, every list and image of it", got)


def _by_shares(table: pd.DataFrame, spec: DataSpec, seed: int) -> pd.DataFrame:
    """The splits that the data bring, and those that they lack."""
    if spec.groups == "group":
        table = _copies_joined(table)
    split = complete_splits(table, val=spec.val, test=spec.test, seed=seed, groups=spec.groups)
    return _without_leak(split, spec)


def _copies_joined(table: pd.DataFrame) -> pd.DataFrame:
    """Groups such that copies of a picture never straddle a split of ours.

    What is cut are the training rows, or all if there is no split. Splits that the data bring stay
    as they are, copies or not.
    """
    have = set(table["split"]) - {""}
    if {"val", "test"} <= have:
        return table
    cut = table["split"] == ("train" if have else "")
    joined = join_duplicates(table[cut])
    return table.assign(group=table["group"].where(~cut, joined["group"]))


def _by_fold(table: pd.DataFrame, spec: DataSpec, seed: int, name: str = "data") -> pd.DataFrame:
    """`spec.fold` is tested; validation is cut from the others, which train."""
    fold = _fold_numbers(table, name)
    folds = sorted(set(fold) - {0})
    require(len(folds) > 1, name, "images in at least two folds", folds)
    rule = f"the number of the test fold, one of {', '.join(map(str, folds))}"
    require(spec.fold in folds, "data.fold", rule, spec.fold)
    rest = table[(fold != spec.fold) & (fold > 0)]
    if spec.groups == "group":
        rest = join_duplicates(rest)
    rest = split_by_group(rest, val=spec.val, test=0.0, seed=seed, groups=spec.groups)
    split = table.assign(split="")
    split.loc[rest.index, ["split", "group"]] = rest[["split", "group"]]
    split.loc[fold == spec.fold, "split"] = "test"
    return _without_leak(split, spec)


def _without_leak(split: pd.DataFrame, spec: DataSpec) -> pd.DataFrame:
    if spec.groups == "group":
        assert_no_leak(split[["group", "split"]])
    return split


def _fold_numbers(table: pd.DataFrame, name: str) -> pd.Series:
    """The column `fold` as numbers from 1; 0 where it is empty."""
    require("fold" in table.columns, name, "a set with a column 'fold'", "none")
    texts = table["fold"].astype(object).where(table["fold"].notna(), "").astype(str).str.strip()
    numbers = pd.to_numeric(texts.where(texts != "", "0"), errors="coerce")
    good = (numbers >= 0) & (numbers % 1 == 0)
    if not good.all():
        row = int((~good).to_numpy().argmax())
        path, got = table["path"].iloc[row], texts.iloc[row]
        raise UserError(f"fold of {path} must be a whole number from 1, or empty, got {got!r}")
    return numbers.astype(int)
