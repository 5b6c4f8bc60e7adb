"""What `make demo` shows of skin lesions beyond the shared commands: what is refused, and why."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import UInt8
from matplotlib.figure import Figure
from PIL import Image

from likeness.files import atomic_path
from likeness_apps.shell.predict import predict
from likeness_apps.shell.report.sheets import GENERATED
from likeness_apps.shell.screening import screened
from likeness_apps.shell.search import test_queries
from likeness_apps.skin_lesion.diagnoses import names_of
from likeness_apps.skin_lesion.domain import DOMAIN
from likeness_apps.skin_lesion.explain.run import explain
from likeness_apps.skin_lesion.sample import SIZE, generator

if TYPE_CHECKING:
    from likeness_apps.demo import Journal

LESIONS = 3  # test images that are predicted beside the two that are no lesions


def predict_and_explain(journal: Journal, run: Path, out: Path) -> None:
    """Predict a few pictures, two of which show no skin, and explain one test image.

    Pictures of somebody's own data are not copied: of these only the explained one is shown.

    Args:
        journal: knows the data, notes commands and cards.
        run: the trained run.
        out: where the demo writes.
    """
    data = screened(DOMAIN, journal.data, quiet=True)
    lesions = test_queries(DOMAIN, run, data, count=LESIONS)
    inputs, labels, why = out / "inputs", out / "labels.csv", out / "why"
    inputs.mkdir()
    for number, picture_HW3 in enumerate((blank(), fields()), start=1):
        Image.fromarray(picture_HW3).save(inputs / f"not_skin_{number}.png")
    for lesion in lesions if journal.generated else ():
        shutil.copyfile(lesion, inputs / lesion.name)
    line = f"predict {run} {inputs} --out {labels}"
    journal.run(line, predict, DOMAIN, run, inputs, labels, 64)
    write_answers(out / "labels.png", pd.read_csv(labels, keep_default_na=False), inputs)
    journal.card("Predictions", "labels.csv", "Pictures that are no lesions get no diagnosis.")

    line = f"explain {run} {journal.shown(lesions[0])} --out {why} --cases {journal.shown()}"
    journal.run(line, explain, DOMAIN, run, lesions[0], why, cases=data)
    text = "Where the network looked, and the most similar training lesions."
    journal.card("Explanation", "why/explanation.html", text)


def blank() -> UInt8[np.ndarray, "H W 3"]:
    """An even, dark grey picture."""
    return np.full((*SIZE, 3), 40, np.uint8)


def fields() -> UInt8[np.ndarray, "H W 3"]:
    """Ploughed fields as from an aeroplane, generated; the same on every call."""
    rng = generator("fields")
    rows, columns = np.indices(SIZE)
    plot_HW = (rows // 32) * 4 + (columns + 7 * (rows // 32)) // 34  # which field a pixel is in
    soils_P3 = rng.uniform((60, 80, 30), (170, 160, 90), (plot_HW.max() + 1, 3))
    angle_P = rng.uniform(0, math.pi, len(soils_P3))
    across_HW = rows * np.cos(angle_P[plot_HW]) + columns * np.sin(angle_P[plot_HW])
    furrows_HW1 = 18 * np.sign(np.sin(1.6 * across_HW))[..., None]
    noise_HW3 = rng.normal(0, 8, (*SIZE, 3))
    picture_HW3: np.ndarray = soils_P3[plot_HW] + furrows_HW1 + noise_HW3
    return picture_HW3.clip(0, 255).astype(np.uint8)


def write_answers(path: Path, answers: pd.DataFrame, folder: Path) -> None:
    """Draw the pictures of a table of `predict` side by side, each with what was said of it.

    Args:
        path: the PNG file; written atomically.
        answers: path, status, label.
        folder: where the pictures are.
    """
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9}):
        figure = Figure(figsize=(2.0 * len(answers), 1.9), dpi=160, facecolor="#faf9f6")
        axes = figure.subplots(1, len(answers), squeeze=False)[0]
        for axis, row in zip(axes, answers.itertuples(), strict=True):
            with Image.open(folder / str(row.path)) as picture:
                axis.imshow(picture.convert("RGB"))
            said = names_of([str(row.label)])[0] or str(row.status).replace("_", " ")
            axis.set_title(said, color="#1f2328" if row.label else "#c44414", fontsize=9)
            axis.set_axis_off()
        figure.text(0.01, 0.02, f"{GENERATED}; research only", color="#5d6570", fontsize=8)
        figure.tight_layout(rect=(0, 0.06, 1, 1))
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})
