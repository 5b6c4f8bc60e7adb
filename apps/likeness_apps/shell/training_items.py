"""The training images behind a model, for the report's "what is this error close to?"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from likeness.bundle import Bundle
from likeness.files import sha256_file
from likeness_apps.shell.report.data import Picture, TrainingItems


def training_items(
    bundle: Bundle,
    metrics: Mapping[str, Any],
    folder: Path,
    picture: Callable[[Path], Picture | None],
) -> TrainingItems | None:
    """What the model's gallery knows, with pictures of those that lie in the folder.

    Args:
        bundle: the model.
        metrics: metrics.json of what is reported.
        folder: where the measured images are. A file there is a training picture only if its bytes
            are those that were trained on.
        picture: gives the picture of a file, or None.

    Returns:
        The items; None if the model keeps none, nobody can tell which images they are, or the
        report speaks of other classes than the model.
    """
    rows = bundle.gallery_rows()
    if rows is None or bundle.gallery is None or not len(rows):
        return None
    if list(metrics.get("classes", bundle.classes)) != bundle.classes:
        return None
    content = dict(zip(rows["path"], rows["sha256"], strict=True))

    def shown(name: str) -> Picture | None:
        file = folder / name
        same = file.is_file() and sha256_file(file) == content.get(name)
        return picture(file) if same else None

    return TrainingItems(
        paths=rows["path"].tolist(),
        labels=rows["label"].tolist(),
        embeddings_MD=bundle.gallery.embeddings_MD.float().numpy(),
        groups=rows["group"].tolist(),
        thumbnail=shown,
    )
