"""Our official figures against numbers that the challenge's own package (5.6.0) printed once.

`official.json` holds what `isic-challenge-scoring classification -m balanced_accuracy` said of
the tables below, which are made by integer arithmetic and so are the same everywhere.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from likeness_apps.skin_lesion.isic.scoring import score_files

OFFICIAL = json.loads((Path(__file__).parent / "official.json").read_text())
THREE = ["MEL", "NV", "BCC"]
# Options of `tables`: a seed and what is special.
CASES = {
    "three": {"seed": 1, "classes": THREE},
    "weights": {"seed": 2, "classes": [*THREE, "DF"], "weighted": True},
    "ties": {"seed": 3, "classes": THREE, "ties": True},
    "two-of-2017": {"seed": 11, "classes": ["melanoma", "seborrheic_keratosis"], "rest": True},
    "one-column": {"seed": 5, "classes": ["malignant"], "count": 40, "rest": True},
}


def noise(seed, row, column):
    """In [0, 1), by multiplication modulo 2^32."""
    return ((row * 7919 + column * 104729 + seed * 1299709) * 2654435761 % 2**32) / 2**32


def tables(seed, classes, count=60, *, weighted=False, ties=False, rest=False):
    """Truth and submission of `count` images; `rest`: some have no class column."""
    kinds = len(classes) + rest
    label_N = [min(int(noise(seed, row, 99) * kinds), kinds - 1) for row in range(count)]
    columns = range(len(classes))
    truth_NC = np.array([[float(label == column) for column in columns] for label in label_N])
    noise_NC = np.array([[noise(seed, row, column) for column in columns] for row in range(count)])
    said_NC = (noise_NC + 0.7 * truth_NC) / 1.7
    names = pd.DataFrame({"image": [f"ISIC_{row:07d}" for row in range(count)]})
    truth, said = names.copy(), names.copy()
    truth[classes] = truth_NC
    said[classes] = said_NC.round(1) if ties else said_NC
    if weighted:
        truth["score_weight"] = [1.0 + row % 3 for row in range(count)]
        truth["validation_weight"] = [float(row % 2) for row in range(count)]
    return truth, said


@pytest.mark.parametrize("name", CASES)
def test_the_official_package_says_the_same(name, tmp_path):
    for kind, table in zip(("truth", "said"), tables(**CASES[name]), strict=True):
        table.to_csv(tmp_path / f"{kind}.csv", index=False)
    found = score_files(tmp_path / "truth.csv", tmp_path / "said.csv")
    expected = OFFICIAL[name]
    assert found.balanced_accuracy == pytest.approx(expected["overall"], abs=1e-12)
    assert found.validation == pytest.approx(expected["validation"], abs=1e-12)
    assert found.macro_average == pytest.approx(expected["macro_average"], abs=1e-12)
    assert found.per_class.keys() == expected["per_class"].keys()
    for label, figures in expected["per_class"].items():
        assert found.per_class[label] == pytest.approx(figures, abs=1e-12)


def test_the_cases_are_not_all_alike():
    values = {case["overall"] for case in OFFICIAL.values()}
    assert len(values) >= 4
    assert OFFICIAL["weights"]["overall"] != OFFICIAL["weights"]["validation"]
