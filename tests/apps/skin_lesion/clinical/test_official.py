"""The official figures of an evaluation equal those of score files."""

import pandas as pd
import pytest

from fixtures.clinical import HAM, ISIC_2017, QUICK, assert_alike, lesions
from likeness_apps.skin_lesion.clinical.measures import (
    clinical_figures,
)
from likeness_apps.skin_lesion.clinical.official import NO_CHALLENGE, official_columns
from likeness_apps.skin_lesion.isic.scoring import score_files
from likeness_apps.skin_lesion.isic.tables import IGNORED, write_submission


@pytest.mark.parametrize(
    ("classes", "columns"),
    [
        (["benign", "malignant"], ["malignant"]),
        (ISIC_2017, ["melanoma", "seborrheic_keratosis"]),
        (HAM, ["mel", "nv", "bcc", "akiec", "bkl", "df", "vasc"]),
        (sorted([*HAM[1:], "ak", "scc"]), ["mel", "nv", "bcc", "ak", "bkl", "df", "vasc", "scc"]),
        (HAM[:-1], []),
        (["melanoma", "nevus"], []),
    ],
)
def test_official_columns(classes, columns):
    assert list(official_columns(classes)) == columns


@pytest.mark.parametrize("classes", [ISIC_2017, HAM])
def test_official_figures_equal_those_of_the_files(classes, tmp_path):
    answers, rows = lesions(60, classes=classes)
    rows.loc[7, "path"] = f"images/{IGNORED}.jpg"
    columns = list(official_columns(classes))
    names = [path.removeprefix("images/").removesuffix(".jpg") for path in rows["path"]]
    said = answers.probabilities_NC[:, [classes.index(column) for column in columns]]
    write_submission(tmp_path / "said.csv", names, columns, said)
    truth = pd.DataFrame({"image": names})
    for column in columns:
        truth[column] = (answers.truth_N == classes.index(column)).astype(float)
    truth.to_csv(tmp_path / "truth.csv", index=False)
    found = clinical_figures(answers, rows, {}, QUICK)["isic"]
    wanted = score_files(tmp_path / "truth.csv", tmp_path / "said.csv").as_dict()
    assert found.pop("columns") == columns
    assert found.pop("remarks") == wanted.pop("remarks")
    assert_alike(found, wanted)


def test_classes_of_no_challenge_have_no_official_figures():
    found = clinical_figures(*lesions(40, classes=["melanoma", "nevus"]), {}, QUICK)
    assert found["isic"] == {"reason": NO_CHALLENGE}
