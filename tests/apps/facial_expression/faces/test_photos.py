"""Photographs in, rows out: several faces, none, broken files, killed calls, coverage."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fixtures.face_videos import SIDE, find_squares, picture, square
from fixtures.stand_in_model import StandIn
from likeness.errors import UserError
from likeness.inference.blocks import Answers
from likeness_apps.facial_expression.faces import photos
from likeness_apps.facial_expression.faces.detector import Face
from likeness_apps.facial_expression.faces.find import as_file, trained_on_grey
from likeness_apps.facial_expression.faces.photos import Coverage, predict_photos

CLASSES = ("neutral", "happiness")


class Seeing(StandIn):
    """Says of a face picture how red and how green its frame is; keeps what it was shown."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(classes=CLASSES, **settings)
        self.shown: list[Image.Image] = []
        self.batches: list[int] = []

    def prepare(self, source: Path | bytes, *, beside: Path | None = None) -> np.ndarray:
        assert isinstance(source, bytes)
        image = Image.open(io.BytesIO(source))
        self.shown.append(image)
        return np.asarray(image.convert("RGB"), np.float32)[1, 1] + 1

    def answer(self, prepared: Any) -> Answers:
        self.batches.append(len(prepared))
        colours = np.stack(prepared)
        shares = colours[:, :2] / colours[:, :2].sum(axis=1, keepdims=True)
        embeddings = np.ones((len(prepared), self.embedding_dim), np.float32)
        logits = np.empty((len(prepared), 0), np.float32)
        return Answers(embeddings, logits, shares.argmax(axis=1), shares)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photographs with 2, 0, 1 and 3 faces, and a file that is none."""
    places: dict[str, dict[int, tuple[int, int]]] = {
        "a.png": {0: (90, 40), 1: (10, 8)},
        "b/c.png": {},
        "b/d.png": {1: (100, 50)},
        "e.png": {0: (5, 5), 1: (60, 50), 2: (120, 20)},
    }
    for name, squares in places.items():
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(squares)).save(file)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff not much")
    return tmp_path / "photos"


def rows_of(out: Path) -> pd.DataFrame:
    return pd.read_csv(out) if out.suffix == ".csv" else pd.read_parquet(out)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_every_face_is_a_row_and_every_photograph_without_one(
    folder: Path, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"rows.{ending}"
    coverage = predict_photos(Seeing(), folder, out, detector=find_squares)
    table = rows_of(out)
    assert list(table.columns) == [
        *("path", "face", "left", "top", "width", "height", "detector_score"),
        *("status", "reason", "label", "p_neutral", "p_happiness", "model_id"),
    ]
    found = table[["path", "status"]].to_numpy().tolist()
    assert found == [
        *(["a.png", "ok"], ["a.png", "ok"], ["b/c.png", "no_face"], ["b/d.png", "ok"]),
        *(["broken.jpg", "error"], ["e.png", "ok"], ["e.png", "ok"], ["e.png", "ok"]),
    ]
    assert table["face"].fillna(0).tolist() == [1, 2, 0, 1, 0, 1, 2, 3]
    assert table["left"].fillna(-1).tolist() == [10, 90, -1, 100, -1, 5, 60, 120]
    assert table["top"].fillna(-1).tolist() == [8, 40, -1, 50, -1, 5, 50, 20]
    assert set(table["width"].dropna()) == set(table["height"].dropna()) == {SIDE}
    said = table["label"].fillna("").tolist()[:6]
    assert said == ["happiness", "neutral", "", "happiness", "", "neutral"]
    shares = table[["p_neutral", "p_happiness"]].to_numpy()
    assert np.allclose(shares[0], [31 / 242, 211 / 242], atol=1e-6)
    assert np.isnan(shares[[2, 4]]).all()
    reasons = table["reason"].fillna("").tolist()
    assert reasons[2] == "no face was found"
    assert reasons[4] == "no image format that is known, or a broken header"
    assert coverage == Coverage(5, 1, 1, 6, 6, 0, 0)
    assert coverage.exit_code == 0
    told = "faces found in 3 of 4 photographs (1 more cannot be read): 6 faces, 6 ok"
    assert coverage.told() == told
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_metadata_say_what_the_table_is(folder: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"rows.{ending}"
    coverage = predict_photos(Seeing(), folder, out, detector=find_squares, margin=0.25)
    if ending == "csv":
        facts = json.loads((tmp_path / "rows.csv.meta.json").read_text(encoding="utf-8"))
    else:
        facts = {k.decode(): v.decode() for k, v in pq.read_schema(out).metadata.items()}
    assert "displayed expression as judged by annotators" in facts["meaning"]
    assert facts["data_licence"] == "research only"
    assert json.loads(facts["coverage"]) == vars(coverage)
    settings = json.loads(facts["settings"])
    assert settings["faces"] == {
        **{"detector": "find_squares", "margin": 0.25},
        **{"aligned_by_eyes": False, "made_grey": False},
    }
    assert settings["readout"] == "softmax"


def test_faces_of_several_photographs_go_to_the_model_together(
    folder: Path, tmp_path: Path
) -> None:
    model = Seeing(batch_size=4)
    predict_photos(model, folder, tmp_path / "rows.csv", detector=find_squares)
    assert model.batches == [4, 2]


def test_the_model_is_shown_the_square_around_the_face(folder: Path, tmp_path: Path) -> None:
    model = Seeing()
    predict_photos(model, folder / "b" / "d.png", tmp_path / "rows.csv", detector=find_squares)
    (shown,) = model.shown
    assert np.array_equal(np.asarray(shown), square(1))
    model.shown.clear()
    setting = {"detector": find_squares, "margin": 0.5, "grey": True}
    predict_photos(model, folder / "b" / "d.png", tmp_path / "more.csv", **setting)
    (shown,) = model.shown
    assert (shown.mode, shown.size) == ("L", (2 * SIDE, 2 * SIDE))


class Killed(BaseException):
    pass


def test_a_killed_call_goes_on_and_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photos, "PART_PHOTOS", 3)
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(10):
        squares = {kind: (5 + 50 * kind, 10) for kind in range(index % 4)}
        Image.fromarray(picture(squares)).save(folder / f"{index}.png")
    whole = predict_photos(Seeing(), folder, tmp_path / "whole.parquet", detector=find_squares)
    asked: list[int] = []

    def counting(image: np.ndarray) -> list[Face]:
        asked.append(1)
        return find_squares(image)

    counting.__qualname__ = "find_squares"
    out = tmp_path / "rows.parquet"
    for limit in (2, 5, 5, 8):

        def kill(done: int, total: int, limit: int = limit) -> None:
            if done == limit:
                raise Killed

        with pytest.raises(Killed):
            predict_photos(Seeing(), folder, out, detector=counting, on_progress=kill)
        assert not out.exists()
    asked.clear()
    assert predict_photos(Seeing(), folder, out, detector=counting) == whole
    assert len(asked) == 4
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_a_call_that_was_killed_at_its_end_is_finished_by_the_next(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "rows.csv"

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(photos, "close", die)
        with pytest.raises(Killed):
            predict_photos(Seeing(), folder, out, detector=find_squares)
    before = out.read_bytes()
    coverage = predict_photos(Seeing(), folder, out, detector=find_squares)
    assert out.read_bytes() == before
    assert coverage.faces == 6
    with pytest.raises(UserError, match="out must be the name of a file that is not there yet"):
        predict_photos(Seeing(), folder, out, detector=find_squares)


def test_work_of_another_kind_is_not_gone_on_with(folder: Path, tmp_path: Path) -> None:
    def kill(done: int, total: int) -> None:
        if done == 3:
            raise Killed

    asked = {"detector": find_squares, "on_progress": kill}
    with pytest.raises(Killed):
        predict_photos(Seeing(), folder, tmp_path / "rows.csv", **asked)
    with pytest.raises(UserError, match="got parts begun with settings"):
        predict_photos(Seeing(), folder, tmp_path / "rows.csv", **asked, margin=0.1)


def test_a_detector_that_fails_costs_the_photograph_and_no_more(
    folder: Path, tmp_path: Path
) -> None:
    def moody(image: np.ndarray) -> list[Any]:
        found = find_squares(image)
        if len(found) == 3:
            raise RuntimeError("too many faces")
        return [(1, 2, 3)] if len(found) == 1 else found

    out = tmp_path / "rows.csv"
    coverage = predict_photos(Seeing(), folder, out, detector=moody)
    table = rows_of(out).set_index("path")
    assert table.loc["e.png", "reason"] == "RuntimeError: too many faces"
    assert "detector must return faces" in table.loc["b/d.png", "reason"]
    assert coverage == Coverage(5, 3, 1, 2, 2, 0, 0)


def test_a_face_that_cannot_be_used_costs_its_row_and_no_more(folder: Path, tmp_path: Path) -> None:
    def wild(image: np.ndarray) -> list[Face]:
        return [*find_squares(image), Face(-500, 10, 1200, 30, 0)]

    coverage = predict_photos(Seeing(), folder / "a.png", tmp_path / "rows.csv", detector=wild)
    table = rows_of(tmp_path / "rows.csv")
    assert table["status"].tolist() == ["error", "ok", "ok"]
    assert "face must be at most 320 pixels wide and high here" in table["reason"][0]
    assert coverage == Coverage(1, 0, 0, 3, 2, 0, 1)
    assert coverage.told().endswith("3 faces, 2 ok, 1 failed")


@pytest.mark.parametrize(
    ("mode", "status", "reason"),
    [
        *(("L", "no_face", "no face was found"), ("RGBA", "no_face", "no face was found")),
        ("I;16", "error", "1 bands of uint16 where a photograph has 8-bit RGB"),
    ],
)
def test_other_kinds_of_pictures(tmp_path: Path, mode: str, status: str, reason: str) -> None:
    image = Image.new("I;16", (40, 30)) if mode == "I;16" else Image.new(mode, (40, 30), 9)
    image.save(tmp_path / "a.png")
    coverage = predict_photos(
        Seeing(), tmp_path / "a.png", tmp_path / "rows.csv", detector=find_squares
    )
    (row,) = rows_of(tmp_path / "rows.csv").itertuples()
    assert (row.status, row.reason) == (status, reason)
    assert coverage.exit_code == 1


def test_a_table_may_name_what_is_not_there(folder: Path, tmp_path: Path) -> None:
    listed = folder / "list.csv"
    listed.write_text("path\na.png\nnone.png\n\n", encoding="utf-8")
    predict_photos(Seeing(), listed, tmp_path / "rows.csv", detector=find_squares)
    table = rows_of(tmp_path / "rows.csv")
    assert table["status"].tolist() == ["ok", "ok", "error"]
    assert table["reason"][2] == "no such file"


def test_what_cannot_be_asked(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"out must be a name that ends in .csv or .parquet"):
        predict_photos(Seeing(), folder, tmp_path / "rows.txt")
    with pytest.raises(UserError, match=r"margin must be in \[0, 1\], got 2"):
        predict_photos(Seeing(), folder, tmp_path / "rows.csv", margin=2)
    with pytest.raises(UserError, match="model must be one with classes"):
        predict_photos(StandIn(classes=()), folder, tmp_path / "rows.csv")
    assert not list(tmp_path.glob("rows*"))


def test_a_model_of_grey_pictures_is_known_by_its_statistics() -> None:
    def model(bands: int, mean: list[float], std: list[float]) -> Any:
        made = SimpleNamespace(bands=bands, mean=mean, std=std)
        return SimpleNamespace(preprocessing=made)

    assert trained_on_grey(model(1, [0.5], [0.2]))
    assert trained_on_grey(model(3, [0.5] * 3, [0.2] * 3))
    assert not trained_on_grey(model(3, [0.5, 0.4, 0.4], [0.2] * 3))
    assert trained_on_grey(SimpleNamespace(members=[model(1, [0.5], [0.2])]))  # type: ignore[arg-type]
    assert not trained_on_grey(StandIn())  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_face_becomes_a_file_without_a_loss(mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(as_file(image)))), np.asarray(image))
