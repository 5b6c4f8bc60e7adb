"""What an evaluation leaves behind: predictions.csv, metrics.json, embeddings.npy, report.html.

Shapes: N = items, C = classes, D = embedding dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.bundle import Bundle
from likeness.data.decode import DecodeError, decode, decode_full
from likeness.files import atomic_path, write_json
from likeness.inference.blocks import Block
from likeness.inference.readouts import label_cells
from likeness.provenance import collect_provenance
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.generated import is_generated
from likeness_apps.shell.measure import Answers, Measured
from likeness_apps.shell.report.data import Picture, ReportData, TrainingItems
from likeness_apps.shell.report.html import write_report

TILE = 96  # pixels; reports show small pictures only
LOOKED_AT = 1000  # pixels of a side at least, where they are: in a tile, remarks would be missed


def predictions_table(
    rows: pd.DataFrame, answers: Answers, measured: Measured, model_id: str
) -> pd.DataFrame:
    """One row per item: path, status, reason, truth, label, p_<class>, correct, group, model_id.

    Of a multi-label set truth and label are names with `|` between, and there is no `correct`.

    Args:
        rows: the table rows of the N items, with path and group.
        answers: of these items, in this order.
        measured: its per-item values become columns.
        model_id: who answered; "" if nobody knows.
    """
    headline = next(iter(answers.readouts.values()))
    table = pd.DataFrame(
        {
            "path": rows["path"].to_numpy(),
            "status": "ok",
            "reason": "",
            "truth": label_cells(answers.truth_N, answers.classes),
            "label": label_cells(headline, answers.classes),
        }
    )
    if answers.probabilities_NC is not None:
        columns = [f"p_{name}" for name in answers.classes]
        table[columns] = answers.probabilities_NC.astype(np.float32)
    if answers.truth_N.ndim == 1:  # several labels are right to a degree: that is per item below
        table["correct"] = headline == answers.truth_N
    table["group"] = rows["group"].to_numpy()
    for name in measured.per_item.columns:
        table[name] = measured.per_item[name].to_numpy()
    table["model_id"] = model_id
    return table


def with_failures(
    rows: pd.DataFrame, ok_N: np.ndarray, table: pd.DataFrame, blocks: list[Block]
) -> pd.DataFrame:
    """predictions.csv of all rows, in their order; those without an answer say why.

    Args:
        rows: that were asked for, with path, label and group.
        ok_N: which of them have an answer.
        table: `predictions_table` of these.
        blocks: the model's answers to all N, with the reasons.
    """
    if ok_N.all():
        return table
    reasons = [reason for block in blocks for reason in block.reasons]
    failed = pd.DataFrame(
        {
            "path": rows["path"].to_numpy(),
            "status": "error",
            "reason": reasons,
            "truth": rows["label"].to_numpy(),
            "label": "",
            "group": rows["group"].to_numpy(),
        }
    )[~ok_N]
    table.index = pd.Index(np.flatnonzero(ok_N))
    return pd.concat([table, failed]).sort_index().reset_index(drop=True)


def provenance_of(bundle: Bundle) -> dict[str, Any]:
    """Of figures of a model: its seed and data, and the command, time and versions of now."""
    return collect_provenance(
        seed=int(bundle.provenance.get("seed", 0)),
        data_hash=str(bundle.provenance.get("data_hash", "")),
    )


def write_results(
    out: Path,
    metrics: Mapping[str, Any],
    predictions: pd.DataFrame,
    embeddings_ND: np.ndarray | None,
) -> None:
    """predictions.csv, embeddings.npy (rows with status ok, in that order) and metrics.json.

    metrics.json comes last: where it is, the rest is whole.
    """
    with atomic_path(out / "predictions.csv") as temporary:
        predictions.to_csv(temporary, index=False, lineterminator="\n")
    if embeddings_ND is not None:
        with atomic_path(out / "embeddings.npy") as temporary, temporary.open("wb") as handle:
            np.save(handle, embeddings_ND.astype(np.float32), allow_pickle=False)
    write_json(out / "metrics.json", metrics)


def report_of(
    path: Path,
    domain: Domain,
    *,
    title: str,
    folder: Path | None,
    metrics: Mapping[str, Any],
    predictions: pd.DataFrame,
    embeddings_ND: np.ndarray | None,
    space: Any = "cosine",
    run: Path | None = None,
    card: str = "",
    provenance: Mapping[str, Any] | None = None,
    include_images: bool = False,
    training: TrainingItems | None = None,
) -> None:
    """report.html from what was measured, with curves, findings and card of a run.

    Args:
        path: the HTML file.
        domain: the application.
        title: the heading.
        folder: the root of the images, for tiles; None shows none.
        metrics: metrics.json.
        predictions: predictions.csv.
        embeddings_ND: of the rows with status ok.
        space: how they are compared.
        run: a run directory whose logs, findings and card belong to the page.
        card: the model card, if there is no run.
        provenance: of the model, if there is no run.
        include_images: put small pictures into the page.
        training: what the errors are compared with.
    """
    if run is not None:
        readme = run / "model" / "README.md"
        card = card or (readme.read_text(encoding="utf-8") if readme.is_file() else "")
    field = None if domain.measures is None else domain.measures()
    picture = thumbnail_of(domain)
    data = ReportData(
        title=title,
        app=domain.name,
        metrics=metrics,
        predictions=predictions,
        embeddings_ND=embeddings_ND,
        space=space,
        training=training,
        epochs=run_table(run, "logs/epochs.csv"),
        findings=run_table(run, "findings.csv"),
        provenance=provenance or {},
        card=card,
        thumbnail=None if folder is None else (lambda name: picture(folder / name)),
        generated=folder is not None and is_generated(folder),
        own_sections=() if field is None else field.sections(),
        headlines=() if field is None else field.headlines(metrics.get(field.name) or {}),
        notice=domain.notice,
    )
    write_report(path, data, include_images=include_images)


def thumbnail(path: Path) -> np.ndarray | None:
    """A small 8-bit RGB picture of a file for people, or None if it cannot be read.

    Other pixel types are stretched from their 2nd to their 98th percentile; of more than three
    bands the first three are shown.
    """
    try:
        return eight_bit(decode(path, min_side=TILE))
    except DecodeError:
        return None


def thumbnail_of(domain: Domain) -> Callable[[Path], Picture | None]:
    """`thumbnail`; in an application with `remarks_on`, None for a picture with remarks."""
    remarks_on = domain.remarks_on
    if remarks_on is None:
        return thumbnail

    def picture(path: Path) -> Picture | None:
        try:
            decoded = decode_full(path, min_side=LOOKED_AT)
        except DecodeError:
            return None
        noted = decoded.remarks or remarks_on(decoded.pixels_HWC)
        return None if noted else eight_bit(decoded.pixels_HWC)

    return picture


def eight_bit(image_HWC: np.ndarray) -> np.ndarray:
    """Pixels as an 8-bit RGB picture for people; see `thumbnail`."""
    if image_HWC.shape[2] < 3:
        image_HWC = np.repeat(image_HWC[..., :1], 3, axis=2)
    image_HWC = image_HWC[..., :3]
    if image_HWC.dtype == np.uint8:
        return np.ascontiguousarray(image_HWC)
    values = image_HWC.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [2, 98]) if finite.size else (0.0, 1.0)
    scaled = (values - low) / max(high - low, 1e-12) * 255.0
    stretched: np.ndarray = np.nan_to_num(scaled).clip(0, 255).astype(np.uint8)
    return stretched


def run_table(run: Path | None, name: str) -> pd.DataFrame | None:
    """A table of a run directory, or None where there is none."""
    if run is None or not (run / name).is_file():
        return None
    return pd.read_csv(run / name, keep_default_na=name.startswith("logs"))
