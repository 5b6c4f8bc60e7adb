"""`likeness person-reid tracklets`."""

from __future__ import annotations

from pathlib import Path

import typer
from PIL import Image
from typer.testing import CliRunner

from fixtures.cut_tracks import COUNT, files_of
from fixtures.front_door import Ended, assert_refused
from fixtures.videos import SIDE
from likeness_apps.person_reid.tracklets.command import tracklets as command


def call(*words: object) -> Ended:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, list(map(str, words)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


def test_the_command(video: Path, mot: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mot.write_text(mot.read_text(encoding="utf-8") + f"{COUNT + 9},3,1,1,5,5,0.9\n")
    ended = call(video, "--detections", mot, "--camera", 4, "--out", out, "--pad", 0.1)
    assert ended.code == 0, ended.err
    assert "120 crops of 3 tracks from 40 frames" in ended.out
    assert "without a crop: 1 no-such-frame (see boxes.csv)" in ended.out
    assert "no identities" in ended.out
    with Image.open(out / "bbox_test/0001/0001C4T0001F020.jpg") as crop:
        assert crop.size == (SIDE + 4, SIDE + 4)


def test_the_command_refuses_in_one_sentence(video: Path, mot: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rest = ("--camera", 1, "--out", out)
    refused = call(mot, "--detections", mot, *rest)
    assert_refused(refused, "video must be a readable video file", left=out)
    refused = call(video, "--detections", video, *rest)
    assert_refused(refused, "detections must be a MOT table or JSON lines", left=out)
    refused = call(tmp_path / "none.mp4", "--detections", mot, *rest)
    assert_refused(refused, "video must be an existing file", left=out)
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    refused = call(video, "--detections", mot, *rest)
    assert_refused(refused, "out must be a new or empty directory")
    assert files_of(out) == {"mine.txt": b"keep"}
