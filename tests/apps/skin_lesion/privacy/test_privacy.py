"""No name that is planted in data surfaces in anything that any command writes or says.

Names are planted in every text of DICOM, JPEG and PNG files, in names of files and folders, in
further columns of tables, and in pixels; then every command runs on them.
"""

from __future__ import annotations

import base64
import io
import json
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fixtures.lesion_door import likeness, small
from fixtures.planted import (
    contents,
    embedded,
    planted_dicom,
    planted_jpeg,
    planted_png,
    surfacing,
    with_text,
)
from likeness.provenance import collect_provenance
from likeness_apps.skin_lesion.privacy.pseudonyms import VARIABLE
from likeness_apps.skin_lesion.sample import lesion_image

TAG, EXIF, FILE, FOLDER = "Zweisteinova", "Querfeldowski", "Plantagenetto", "Umbertolini"
COLUMN, PIXELS, PLACE = "Vogelsanger", "Xanthopoulos", "Klinikstein"
SPOKEN = (TAG, EXIF, FILE, FOLDER, COLUMN, PIXELS)
PLANTED = (*SPOKEN, PLACE)  # the folder that is typed may be said again, but not written
KINDS = ("nevus", "melanoma")
BLUE = (20, 40, 250)  # the picture with text in its pixels is told by its colour


@dataclass
class Runs:
    """What the commands left behind.

    Attributes:
        out: the folder of all outputs.
        said: command -> what it said on stdout and stderr.
        codes: command -> exit code.
    """

    out: Path
    said: dict[str, str] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)

    def call(self, name: str, *words: object) -> None:
        """Run a command as if it had been typed: its words are recorded in what it writes."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["likeness", "skin-lesion", *map(str, words)])
            ended = likeness(*words)
        self.said[name] = ended.out + ended.err
        self.codes[name] = ended.code


def write_pictures(root: Path) -> Path:
    """JPEG and PNG files of two classes; a letter, a broken file and a list beside them."""
    top = root / PLACE / "pictures"
    for number in range(18):
        kind = KINDS[number % 2]
        pixels = lesion_image(kind, number, size=(48, 64))
        name = f"{FILE}_Jane_{number}"
        write, suffix = (planted_png, "png") if number % 3 else (planted_jpeg, "jpg")
        file = top / kind / f"{name}.{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(write(pixels, EXIF))
    for number, kind in enumerate(KINDS):
        canvas = np.full((300, 400, 3), BLUE, np.uint8)
        burned = with_text(canvas, f"{PIXELS} {number}", size=30, at=(40, 100 + 20 * number))
        (top / kind / f"{FILE}_{PIXELS}_{number}.jpg").write_bytes(planted_jpeg(burned, EXIF))
    (top / "nevus" / f"{FILE}_broken.jpg").write_bytes(planted_jpeg(burned, EXIF)[:900])
    (top / f"{FILE} letter.pdf").write_text(FILE)
    return top


def write_inbox(root: Path) -> Path:
    """A folder per patient, as a clinic has them, and a table of all with further columns."""
    top = root / PLACE / "inbox"
    rows = []
    for number in range(3):
        path = f"{FOLDER} {number}/visit/{FILE}_{number}.png"
        (top / path).parent.mkdir(parents=True)
        (top / path).write_bytes(
            planted_png(lesion_image("nevus", 40 + number, size=(48, 64)), EXIF)
        )
        rows.append({"path": path, "label": "nevus", "doctor": COLUMN, "age": COLUMN})
    frame = pd.DataFrame(rows).assign(group=COLUMN, sex=COLUMN, site=COLUMN)
    frame.to_csv(root / PLACE / "inbox" / f"{FILE}.csv", index=False)
    return top


def write_dicom(root: Path) -> Path:
    """Files without endings and with, two of each patient, and a table of labels."""
    top, rows = root / PLACE / "dicom", []
    top.mkdir(parents=True)
    for number in range(20):
        kind = KINDS[number % 2]
        name = f"{FILE}{number}" + (".dcm" if number % 3 else "")
        pixels = lesion_image(kind, 60 + number, size=(48, 64))
        patient = {"PatientID": f"{TAG}{number // 4}", "PatientAge": "045Y"}
        (top / name).write_bytes(planted_dicom(pixels, TAG, **patient))
        rows.append({"path": name, "label": kind, "doctor": COLUMN, "comment": TAG})
    (top / f"{FILE}_cut.dcm").write_bytes((top / f"{FILE}1.dcm").read_bytes()[:3000])
    rows.append({"path": f"{FILE}_cut.dcm", "label": "nevus", "comment": TAG})
    pd.DataFrame(rows).to_csv(top / "labels.csv", index=False)
    return top


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Every command, on pictures and on DICOM files."""
    root = tmp_path_factory.mktemp("data")
    done = Runs(tmp_path_factory.mktemp("outputs"))
    pictures, inbox, dicom = write_pictures(root), write_inbox(root), write_dicom(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(VARIABLE, raising=False)
        patch.setenv("XDG_CONFIG_HOME", str(root / "settings"))
        run_pictures(done, pictures, inbox)
        run_dicom(done, dicom)
    return done


def run_pictures(done: Runs, data: Path, inbox: Path) -> None:
    out, run = done.out, done.out / "run"
    image = next((data / "nevus").glob(f"{FILE}_Jane*"))
    typed = small("data.test=0.3", "data.scope_check=false")
    done.call("inspect", "inspect", data, "--out", out / "inspected")
    done.call("train", "train", data, "--out", run, "--include-images", "--tensorboard", *typed)
    done.call("resume", "train", data, "--out", run, "--resume", *typed)
    evaluated = ("evaluate", run, data, "--include-images", "--out")
    done.call("evaluate", *evaluated, out / "test")
    done.call("evaluate all", *evaluated, out / "all", "--split", "all")
    done.call("predict", "predict", run, inbox, "--out", out / "inbox.csv")
    done.call("predict table", "predict", run, inbox / f"{FILE}.csv", "--out", out / "t.parquet")
    done.call("predict image", "predict", run, image, "--out", out / "one.csv")
    done.call("embed", "embed", run, data, "--out", out / "embedded.parquet")
    done.call("embed npy", "embed", run, inbox, "--out", out / "vectors.npy")
    done.call("index", "index", run, data, "--out", out / "archive")
    found = ("search", out / "archive", image, "-k", "3", "--sheet")
    done.call("search", *found, out / "s.png", "--out", out / "found.csv")
    done.call("search data", *found, out / "with.png", "--data", data)
    done.call("search folder", "search", out / "archive", inbox, "-k", "2")
    truth = [{"path": str(path.relative_to(inbox)), "label": "nevus", "group": path.parent.name}
             for path in sorted(inbox.rglob("*.png"))]  # fmt: skip
    table = inbox.parent / "truth.csv"
    pd.DataFrame(truth).to_csv(table, index=False)
    done.call("score", "score", table, out / "inbox.csv", "--out", out / "scored")
    done.call("score again", "score", table, out / "inbox.csv", "--out", out / "scored2")
    write_isic_tables(table.parent)
    official = (table.parent / "isic_truth.csv", table.parent / "isic_said.csv")
    done.call("score isic", "score", *official, "--out", out / "official")
    done.call("compare", "compare", out / "test", out / "all", "--out", out / "compared")
    done.call("compare scores", "compare", out / "scored", out / "scored2")
    done.call("explain", "explain", run, image, "--out", out / "why", "--cases", data)
    done.call("bad query", "search", out / "archive", data / "nevus" / f"{FILE}_broken.jpg")


def write_isic_tables(folder: Path) -> None:
    names = [f"{FILE}_{number}" for number in range(4)]
    truth = pd.DataFrame({"image": names, "MEL": [1.0, 0, 1, 0], "NV": [0.0, 1, 0, 1]})
    truth.to_csv(folder / "isic_truth.csv", index=False)
    said = truth.assign(MEL=[0.9, 0.2, 0.4, 0.1], NV=[0.1, 0.8, 0.6, 0.9])
    said.to_csv(folder / "isic_said.csv", index=False)


def run_dicom(done: Runs, data: Path) -> None:
    out = done.out
    typed = small("data.test=0.3", "data.scope_check=false")
    done.call("dicom inspect", "inspect", data, "--out", out / "dicom_inspected")
    done.call("dicom train", "train", data, "--out", out / "dicom_run", *typed)
    done.call("dicom evaluate", "evaluate", out / "dicom_run", data, "--out", out / "dicom_test")
    done.call("dicom predict", "predict", out / "dicom_run", data, "--out", out / "dicom.csv")
    done.call("dicom index", "index", out / "dicom_run", data, "--out", out / "dicom_archive")


EXPECTED = {"inspect": 1, "dicom inspect": 1, "bad query": 2}  # the broken files are errors


def test_every_command_did_its_work(runs: Runs) -> None:
    ended = {name: code for name, code in runs.codes.items() if code != EXPECTED.get(name, 0)}
    assert ended == {}, {name: runs.said[name] for name in ended}


def test_nothing_that_was_planted_is_in_any_output(runs: Runs) -> None:
    found = {where: surfacing(PLANTED, data) for where, data in contents(runs.out)}
    assert {where: names for where, names in found.items() if names} == {}
    files = {path.suffix for path in runs.out.rglob("*") if path.is_file()}
    assert {".csv", ".html", ".json", ".npy", ".parquet", ".png", ".safetensors"} <= files


def test_nothing_that_was_planted_is_said(runs: Runs) -> None:
    for command, text in runs.said.items():
        lines = [line for line in text.splitlines() if not line.startswith("Next:")]
        assert surfacing(SPOKEN, "\n".join(lines).encode()) == [], command


def test_what_is_hidden_is_announced_once(runs: Runs) -> None:
    for command in ("inspect", "train", "evaluate", "predict", "embed", "index", "dicom inspect"):
        assert runs.said[command].count("names DATA --out key.csv") == 1, command
    assert "Next: likeness skin-lesion evaluate" in runs.said["train"]
    assert f"{PLACE}/pictures" in runs.said["train"]  # what was typed can be typed again


def test_provenance_says_data_for_what_was_typed(runs: Runs) -> None:
    command = json.loads((runs.out / "run" / "model" / "provenance.json").read_text())["command"]
    assert command[1:4] == ["skin-lesion", "train", "DATA"]
    assert str(runs.out / "run") in command


def test_burned_in_text_is_warned_of_and_its_picture_left_out(runs: Runs) -> None:
    for findings in (runs.out / "inspected" / "findings.csv", runs.out / "run" / "findings.csv"):
        table = pd.read_csv(findings)
        assert (table["code"] == "burned-in-text").sum() == 2
    shown = 0
    for page in (runs.out / "all" / "report.html", runs.out / "run" / "report.html"):
        for picture in embedded(page.read_bytes()):
            colour = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).mean(axis=(0, 1))
            assert np.abs(colour - BLUE).max() > 60
            shown += 1
    assert shown > 20  # the others are there


def test_stand_ins_join_across_commands(runs: Runs) -> None:
    predicted = pd.read_csv(runs.out / "inbox.csv")
    listed = pd.read_parquet(runs.out / "t.parquet")
    assert sorted(predicted["path"]) == sorted(listed["path"])
    assert (predicted["status"] == "ok").all()
    scored = pd.read_csv(runs.out / "scored" / "predictions.csv")
    assert sorted(scored["path"]) == sorted(predicted["path"])
    splits = pd.read_csv(runs.out / "run" / "splits.csv")
    tested = pd.read_csv(runs.out / "test" / "predictions.csv")
    assert set(tested["path"]) == set(splits.loc[splits["split"] == "test", "path"])
    assert set(splits["label"]) == set(KINDS)


def test_sheets_show_pictures_only_where_they_are(runs: Runs) -> None:
    assert "--data" in runs.said["search"]
    assert "--data" not in runs.said["search data"]
    sheets = [np.asarray(Image.open(runs.out / name)) for name in ("s.png", "with.png")]
    assert sheets[0].shape == sheets[1].shape
    assert (sheets[0] != sheets[1]).any()
    assert json.loads((runs.out / "archive" / "index.json").read_text())["facts"]["root"] == ""


def test_patients_of_dicom_files_are_groups(runs: Runs) -> None:
    splits = pd.read_csv(runs.out / "dicom_run" / "splits.csv")
    assert splits["group"].nunique() == 5
    assert (splits.groupby("group")["split"].nunique() == 1).all()


def test_the_key_says_which_is_which(tmp_path: Path) -> None:
    data, out = write_inbox(tmp_path), tmp_path / "key.csv"
    ended = likeness("names", data, "--out", out)
    assert ended.code == 0, ended.err
    assert FILE not in ended.out
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert f"{FOLDER} 0/visit/{FILE}_0.png" in pd.read_csv(out)["path"].tolist()
    again = likeness("names", data, "--out", out)
    assert again.code == 2
    assert "which is there" in again.err


@pytest.mark.parametrize("name", PLANTED)
def test_the_search_would_find_a_name(name: str, tmp_path: Path) -> None:
    image = lesion_image("nevus", 0, size=(48, 64))
    planted = {
        "a.dcm": planted_dicom(image, name),
        "b.jpg": planted_jpeg(image, name),
        "c.png": planted_png(image, name),
        "d.html": base64.b64encode(f"x{name}yz".encode()),
        "e.txt": name.upper().encode("utf-16-le"),
        "f.txt": "".join(f"&#{ord(sign)};" for sign in name).encode(),
        "g.txt": "".join(f"%{ord(sign):02x}" for sign in name).encode(),
        "h.json": "".join(f"\\u{ord(sign):04x}" for sign in name).encode(),
        f"{name}.txt": b"",
    }
    for file, data in planted.items():
        (tmp_path / file).write_bytes(data)
    pd.DataFrame({"path": [name] * 50}).to_parquet(tmp_path / "i.parquet")
    seen = {where.split(" (")[0] for where, data in contents(tmp_path) if surfacing([name], data)}
    assert seen == {*planted, "i.parquet"}
    assert not surfacing([name], b"nothing of the kind " + bytes(range(256)))


def test_other_words_of_a_command_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    from likeness.provenance import record_as

    monkeypatch.setattr("likeness.provenance._RECORDED_AS", {})
    typed = ["/usr/bin/likeness", "train", f"/data/{PLACE}/", "--out", "run"]
    assert collect_provenance(seed=0, data_hash="", command=typed)["command"][2] == typed[2]
    record_as(Path(f"/data/{PLACE}"), "DATA")
    recorded = collect_provenance(seed=0, data_hash="", command=typed)["command"]
    assert recorded == ["likeness", "train", "DATA", "--out", "run"]


def test_without_a_place_for_a_salt_nothing_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    ended = likeness("inspect", write_inbox(tmp_path), "--out", tmp_path / "out")
    assert ended.code == 2
    assert VARIABLE in ended.err
    assert not (tmp_path / "out").exists()
