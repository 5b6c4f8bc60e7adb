"""Folds of whole subjects, for sets that come without a split and show few people."""

from __future__ import annotations

from likeness.data.findings import Finding
from likeness.data.manifest import Manifest
from likeness.data.splits import cross_fit
from likeness.errors import UserError

FOLDS = 10  # by far the most usual number for these sets
_SEED = 0  # the folds are part of the protocol: the same for everybody


def with_subject_folds(manifest: Manifest) -> Manifest:
    """The set with a column `fold`, "1" to "10": no subject is in two folds ("" = no label).

    Folds are alike in their shares of the expressions and made with a fixed seed. No list of folds
    is published for these sets; these are ours. A set of fewer subjects gets none, which is told.
    """
    table = manifest.table.assign(fold="")
    labelled = table[table["label"] != ""]
    try:
        places = cross_fit(labelled, folds=FOLDS, seed=_SEED)
    except UserError as error:
        message = f"no folds of whole subjects: {error}"
        advice = f"add subjects, if the set shall be tested in {FOLDS} folds"
        return manifest.with_findings(Finding("warning", "no-folds", "", message, advice))
    table.loc[labelled.index, "fold"] = (places + 1).astype(str)
    return manifest.with_table(table)
