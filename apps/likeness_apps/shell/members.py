"""One model or several that answer as one, and what must be said of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd

from likeness.bundle import Bundle, load_bundle
from likeness.errors import require
from likeness.inference.averaging import VIEWS, Views
from likeness.inference.blocks import Block
from likeness.inference.ensemble import Ensemble
from likeness.inference.predictor import Predictor
from likeness.inference.scope import Scope
from likeness_apps.shell.domain import APPLICATION, Domain


def own_bundle(domain: Domain, model: Path) -> Bundle:
    """Read a model of this application, to answer or to be measured here.

    Another application's has other limits, readings and protocols; its model can be a start or a
    teacher. A model that does not say where it was trained is taken.

    Raises:
        UserError: as `load_bundle`, or naming the application that the model is of.
    """
    bundle = load_bundle(model)
    made_by = bundle.provenance.get(APPLICATION, domain.name)
    rule = f"one of likeness {domain.name}"
    require(made_by == domain.name, "model", rule, f"{model}, which likeness {made_by} trained")
    return bundle


def predictor_of(
    models: Sequence[Bundle | Path], *, batch_size: int, device: str, tta: str
) -> Predictor | Ensemble:
    """Who answers: the one model, or the mean of all.

    Args:
        models: MODEL and those of `--also`.
        batch_size: images per forward pass.
        device: where the networks run.
        tta: views of each image, see `Predictor`.

    Raises:
        UserError: as `Predictor` and `Ensemble`; naming `tta` if there are no such views.
    """
    require(tta in VIEWS, "tta", f"one of {', '.join(VIEWS)}", tta)
    views = cast("Views", tta)
    members = [
        Predictor(model, batch_size=batch_size, device=device, views=views) for model in models
    ]
    return members[0] if len(members) == 1 else Ensemble(members)


def require_unseen(
    others: Sequence[Bundle], split: str, hashes: Iterable[str], paths: Iterable[str]
) -> None:
    """Refuse images that a further model was trained on: the mean would know their answers.

    Args:
        others: the models of `--also`.
        split: what is asked for; `train` and `all` say themselves that they hold such images.
        hashes: contents of the images.
        paths: theirs, for the message.

    Raises:
        UserError: naming the model and the first such image.
    """
    if split in ("train", "all"):
        return
    known = list(zip(hashes, paths, strict=True))
    for bundle in others:
        saved = bundle.splits
        trained = set(saved["sha256"][saved["split"] == "train"]) - {""}
        found = [path for sha256, path in known if sha256 in trained]
        first = next(iter(found), "")
        got = f"{bundle.model_id}, trained on {len(found)} of them, the first {first}"
        require(not found, "also", "models that were not trained on the measured images", got)


def stated_models(models: Sequence[Bundle], tta: str) -> dict[str, Any]:
    """What a result says of who answered, and how often."""
    facts: dict[str, Any] = {"tta": tta}
    if len(models) > 1:
        facts["ensemble"] = {
            "members": [bundle.model_id for bundle in models],
            "probabilities": "mean of the members'",
            "embeddings": "the members' side by side",
            "recorded_thresholds": "of the first member",
        }
    return facts


def stated_scope(predictor: Predictor | Ensemble, blocks: Sequence[Block]) -> dict[str, Any]:
    """The entry `scope` of metrics.json: how many of the measured images `predict` would refuse.

    Their labels are known, so they are measured all the same. Nothing where nobody looked.
    """
    thresholds = [scope.threshold for scope in _scopes(predictor)]
    if not thresholds:
        return {}
    answered = sum(int(block.ok_B.sum()) for block in blocks)
    refused = sum(bool(why) for block in blocks for why in block.outside)
    facts = {
        "refused": refused,
        "share": refused / answered,
        "threshold": thresholds[0] if len(thresholds) == 1 else thresholds,
        "note": "images that predict answers with out_of_scope; they are measured all the same",
    }
    return {"scope": facts}


def with_scope(
    predictor: Predictor | Ensemble, table: pd.DataFrame, blocks: Sequence[Block]
) -> pd.DataFrame:
    """predictions.csv with a column `out_of_scope`, where somebody looked."""
    if not _scopes(predictor):
        return table
    return table.assign(out_of_scope=[bool(why) for block in blocks for why in block.outside])


def _scopes(predictor: Predictor | Ensemble) -> list[Scope]:
    members = predictor.members if isinstance(predictor, Ensemble) else [predictor]
    return [member.scope for member in members if member.scope is not None]
