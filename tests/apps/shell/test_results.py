"""What an evaluation leaves behind."""

import json

import numpy as np
import pandas as pd
import pytest

from fixtures.scenes import save, texture, write_geotiff
from likeness.errors import UserError
from likeness_apps.shell.measure import Answers, measure
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.results import predictions_table, thumbnail, write_results


@pytest.fixture
def answers():
    rng = np.random.default_rng(0)
    wide = rng.dirichlet([1, 1, 1], size=6)
    return Answers(
        truth_N=np.array([0, 0, 1, 1, 2, 0]),
        classes=["a,b", "ü", "None"],
        groups_N=np.arange(6),
        readouts={"softmax": wide.argmax(1), "knn": np.zeros(6, int)},
        probabilities_NC=wide,
        embeddings_ND=rng.normal(size=(6, 4)).astype(np.float32),
    )


@pytest.fixture
def rows():
    paths = [f"x/{name}" for name in "abcdef"]
    return pd.DataFrame({"path": paths, "group": paths, "label": "ignored"}, index=range(4, 10))


def test_predictions_are_read_back_as_they_were(tmp_path, answers, rows):
    measured = measure(answers)
    table = predictions_table(rows, answers, measured, "0123")
    write_results(tmp_path, measured.metrics, table, answers.embeddings_ND)
    found = pd.read_csv(tmp_path / "predictions.csv", keep_default_na=False)
    assert found["path"].tolist() == rows["path"].tolist()
    assert found["truth"].tolist() == ["a,b", "a,b", "ü", "ü", "None", "a,b"]
    said = [answers.classes[place] for place in answers.readouts["softmax"]]
    assert found["label"].tolist() == said
    assert found["correct"].tolist() == (found["truth"] == found["label"]).tolist()
    wide = found[["p_a,b", "p_ü", "p_None"]].to_numpy()
    assert (wide.astype(np.float32) == answers.probabilities_NC.astype(np.float32)).all()
    assert found["recall@1"].tolist()[4] == ""  # the only one of its class: skipped
    assert set(found["model_id"].astype(str)) <= {"0123", "123"}
    embeddings = np.load(tmp_path / "embeddings.npy", allow_pickle=False)
    assert (embeddings == answers.embeddings_ND).all()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["confusion"]["classes"] == answers.classes


def test_metrics_are_written_last(tmp_path, answers, rows, monkeypatch):
    """Where metrics.json is, the rest is whole."""

    def full(*arguments, **options):
        raise UserError("out must be a writable place with free space")

    measured = measure(answers)
    table = predictions_table(rows, answers, measured, "0123")
    monkeypatch.setattr("likeness_apps.shell.results.np.save", full)
    with pytest.raises(UserError):
        write_results(tmp_path, measured.metrics, table, answers.embeddings_ND)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]


def test_thumbnails(tmp_path):
    colour = thumbnail(save(tmp_path / "a.png", texture(1, 0)))
    assert (colour.shape, colour.dtype) == ((32, 32, 3), np.uint8)
    grey = thumbnail(save(tmp_path / "g.png", texture(1, 0, bands=1)))
    assert grey.shape == (32, 32, 3)
    assert (grey[..., 0] == grey[..., 2]).all()
    deep = thumbnail(write_geotiff(tmp_path / "d.tif", texture(1, 0, bands=13, dtype="uint16")))
    assert (deep.shape, deep.dtype) == ((32, 32, 3), np.uint8)
    assert deep.min() == 0
    assert deep.max() == 255
    image = texture(1, 0, bands=2, dtype="float32")
    image[:4] = np.nan
    holes = thumbnail(write_geotiff(tmp_path / "n.tif", image))
    assert (holes[:4] == 0).all()
    flat = thumbnail(write_geotiff(tmp_path / "f.tif", np.full((8, 8, 1), 7, np.uint16)))
    assert len(np.unique(flat)) == 1
    empty = np.full((8, 8, 1), np.nan, np.float32)
    assert thumbnail(write_geotiff(tmp_path / "e.tif", empty)) is not None
    (tmp_path / "broken.png").write_bytes(b"x")
    assert thumbnail(tmp_path / "broken.png") is None
    assert thumbnail(tmp_path / "none.png") is None


def test_nothing_that_is_there_is_written_over(tmp_path):
    require_new(tmp_path)
    require_new(tmp_path / "new")
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path, tmp_path / "file"):
        with pytest.raises(UserError, match="out must be a new or empty directory"):
            require_new(place)
