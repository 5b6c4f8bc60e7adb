"""`predict` and `video` as a person calls them, with a model that was trained (on scenes)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from fixtures.face_videos import picture, write_frames
from fixtures.front_door import Ended, assert_refused
from likeness_apps.facial_expression.drawn_faces import paste_head
from likeness_apps.facial_expression.faces.command import predict
from likeness_apps.facial_expression.video.command import video
from likeness_apps.remote_sensing.cli import DOMAIN  # any will do: it gives a name
from likeness_apps.shell.grammar import add_commands


def call(*words: object) -> Ended:
    app = typer.Typer()
    own: dict[str, Callable[..., None]] = {"predict": predict, "video": video}
    add_commands(app, DOMAIN, own)
    result = CliRunner().invoke(app, list(map(str, words)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


def photograph(*middles: int) -> np.ndarray:
    """Heads of 70 pixels on a plain ground."""
    photo = np.full((150, 300, 3), 200, np.uint8)
    for subject, x in zip((2, 3, 7), middles, strict=False):
        drawn: Any = (photo, "anger", "pressed", subject)
        generator = np.random.default_rng(subject)
        paste_head(*drawn, centre=(x, 75), side=70, generator=generator)
    return photo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph with two heads, one without; read only."""
    root = tmp_path_factory.mktemp("photos")
    Image.fromarray(photograph(80, 220)).save(root / "two.png")
    Image.fromarray(photograph()).save(root / "none.png")
    return root


def test_faces_are_found_in_photographs(run: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.parquet"
    ended = call("predict", run, folder, "--faces", "find", "--min-face", 40, "--out", out)
    table = pd.read_parquet(out)
    assert table["path"].tolist() == ["none.png", "two.png", "two.png"]
    assert table["status"][0] == "no_face"
    middles = (table["left"] + table["width"] / 2)[1:].tolist()
    assert middles == pytest.approx([80, 220], abs=8)
    assert set(table["status"][1:]) <= {"ok", "out_of_scope"}  # of a model of scenes
    assert "faces found in 1 of 2 photographs: 2 faces" in ended.out
    assert ended.code == (0 if "ok" in set(table["status"]) else 1)


def test_a_picture_is_one_face_unless_said_otherwise(
    run: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rows.parquet"
    call("predict", run, folder, "--out", out)
    assert pd.read_parquet(out)["path"].tolist() == ["none.png", "two.png"]
    assert "left" not in pd.read_parquet(out).columns
    facts = pq.read_schema(out).metadata
    assert b"displayed expression as judged by annotators" in facts[b"meaning"]


def test_predict_refuses_in_one_sentence(run: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    asked = "predict", run, folder, "--out", out
    assert_refused(call(*asked, "--faces", "some"), "faces must be given or find, got 'some'")
    refused = call(*asked, "--min-face", 30)
    assert_refused(refused, "faces must be find where --min-face", "is given", left=out)
    refused = call("predict", run, tmp_path / "none", "--faces", "find", "--out", out)
    assert_refused(refused, "input must be an existing folder, image or table", left=out)


def test_faces_are_followed_in_a_video(run: Path, tmp_path: Path) -> None:
    images = [photograph(60 + 4 * index) for index in range(8)]
    file = write_frames(tmp_path / "a.mp4", images)
    out, plot = tmp_path / "rows.csv", tmp_path / "plot.png"
    asked = "video", run, file, "--out", out, "--plot", plot, "--every", 2
    ended = call(*asked, "--min-face", 40)
    table = pd.read_csv(out)
    assert table["frame"].tolist() == [0, 2, 4, 6]
    assert set(table["face"]) == {1}
    assert table["left"].is_monotonic_increasing
    assert "faces found in 4 of 4 frames: 1 followed" in ended.out
    with Image.open(plot) as image:
        assert image.format == "PNG"
    assert_refused(call(*asked), "out must be the name of a file that is not there yet")


def test_video_refuses_in_one_sentence(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.mp4"
    file.write_bytes(b"not a video")
    out = tmp_path / "rows.csv"
    refused = call("video", run, file, "--out", out)
    assert_refused(refused, "video must be a readable video file", left=out)
    write_frames(file, [picture({})] * 3)
    refused = call("video", run, file, "--out", tmp_path / "rows.txt")
    assert_refused(refused, "out must be a name that ends in .csv or .parquet")
    refused = call("video", run, file, "--out", out, "--plot", tmp_path / "plot.svg")
    assert_refused(refused, "plot must be a .png file", left=out)
