"""Provenance: what is recorded, that changes are seen, and where a model is found."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from likeness import provenance as subject
from likeness.errors import UserError
from likeness.files import write_json
from likeness.provenance import (
    FORMAT_VERSION,
    MODEL_FILES,
    PROVENANCE_FILE,
    collect_provenance,
    git_commit,
    hash_table,
    read_provenance,
    resolve_model,
    seal,
)


def table(**columns) -> pd.DataFrame:
    rows = {
        "path": ["a/1.png", "a/2.png", "b/1.png"],
        "label": ["a", "a", "b"],
        "split": ["train", "test", "train"],
        "group": ["1", "2", "3"],
        "sha256": ["00", "11", "22"],
    }
    return pd.DataFrame({**rows, **columns})


def model(folder: Path) -> Path:
    """A directory with the files of a model, whatever they hold."""
    folder.mkdir(parents=True)
    for name in MODEL_FILES:
        (folder / name).write_text(f"this is {name}")
    write_json(folder / PROVENANCE_FILE, seal(folder, {"seed": 3, "score": float("nan")}))
    return folder


def test_what_is_needed_to_repeat_a_run_is_recorded():
    record = collect_provenance(
        seed=5, data_hash="abc", command=["/opt/tools/bin/likeness", "remote-sensing", "train"]
    )
    assert record["command"] == ["likeness", "remote-sensing", "train"]
    assert (record["seed"], record["data_hash"], record["data_licence"]) == (5, "abc", None)
    assert record["versions"]["torch"] == torch.__version__
    assert record["versions"]["python"] == sys.version.split()[0]
    assert record["threads"] == torch.get_num_threads()
    assert record["device"] == "cpu"
    assert record["hardware"]["processors"] >= 1
    assert json.loads(json.dumps(record)) == record  # plain data


def test_this_process_is_the_default_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/likeness", "train", "x y"])
    record = collect_provenance(seed=0, data_hash="", data_licence="CC0-1.0")
    assert record["command"] == ["likeness", "train", "x y"]
    assert record["data_licence"] == "CC0-1.0"


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_of_the_sources(tmp_path, monkeypatch):
    sources = tmp_path / "package"
    sources.mkdir()
    assert git_commit(sources) is None  # no repository
    git(tmp_path, "init", "--quiet")
    (sources / "a.py").write_text("1")
    assert git_commit(sources) is None  # a repository that does not track the sources
    git(tmp_path, "add", "package")
    assert git_commit(sources) is None  # no commit yet
    git(tmp_path, "commit", "--quiet", "--message", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert git_commit(sources) == head
    (tmp_path / "elsewhere").write_text("not ours")
    assert git_commit(sources) == head
    (sources / "a.py").write_text("2")
    assert git_commit(sources) == f"{head}-dirty"
    monkeypatch.setattr(subject.shutil, "which", lambda _name: None)
    assert git_commit(sources) is None


def test_the_data_hash_sees_every_column_and_no_order():
    base = hash_table(table())
    assert len(base) == 64
    assert hash_table(table().iloc[::-1]) == base
    assert hash_table(table().assign(camera="c1")) == base  # an app's own column
    for column in ("path", "label", "split", "group", "sha256"):
        changed = table()
        changed.loc[1, column] = "changed"
        assert hash_table(changed) != base
    assert hash_table(pd.concat([table(), table().iloc[:1]])) != base
    # Text that runs over from one column into the next is other data.
    assert hash_table(table(path=["a", "b", "c"], label=["bc", "", ""])) != hash_table(
        table(path=["ab", "b", "c"], label=["c", "", ""])
    )


def test_a_sealed_model_is_read_back(tmp_path):
    directory = model(tmp_path / "model")
    record = read_provenance(directory)
    assert record["seed"] == 3
    assert record["score"] is None
    assert record["format_version"] == FORMAT_VERSION
    assert set(record["files"]) == set(MODEL_FILES)


@pytest.mark.parametrize("name", [*MODEL_FILES, PROVENANCE_FILE])
def test_any_flipped_byte_is_seen(tmp_path, name):
    directory = model(tmp_path / "model")
    whole = (directory / name).read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 97)):
        changed = bytearray(whole)
        changed[place] ^= 0x01
        (directory / name).write_bytes(bytes(changed))
        with pytest.raises(UserError, match=r"^model must .*, got .*") as caught:
            read_provenance(directory)
        assert "\n" not in str(caught.value)
        assert str(directory / name) in str(caught.value) or "format version" in str(caught.value)
    (directory / name).write_bytes(whole)
    read_provenance(directory)


@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_missing_file_is_named(tmp_path, name):
    directory = model(tmp_path / "model")
    (directory / name).unlink()
    with pytest.raises(UserError, match=f"model must hold {name}, got .* without it"):
        read_provenance(directory)


def test_another_format_version_is_refused_before_anything_else(tmp_path):
    directory = model(tmp_path / "model")
    record = json.loads((directory / PROVENANCE_FILE).read_text())
    write_json(directory / PROVENANCE_FILE, {**record, "format_version": FORMAT_VERSION + 1})
    with pytest.raises(UserError, match=r"model must be of format version 1, got 2"):
        read_provenance(directory)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"format_version": 1}', "\x00", "[" * 5000])
def test_nonsense_is_refused_in_a_sentence(tmp_path, text):
    directory = model(tmp_path / "model")
    (directory / PROVENANCE_FILE).write_text(text)
    with pytest.raises(UserError, match="model must"):
        read_provenance(directory)


def test_a_model_is_found_in_a_run_and_where_a_cut_off_replacement_left_it(tmp_path):
    run = tmp_path / "run"
    directory = model(run / "model")
    assert resolve_model(run) == directory
    assert resolve_model(str(directory)) == directory
    directory.rename(run / ".model.old")
    assert read_provenance(resolve_model(run))["seed"] == 3
    assert read_provenance(resolve_model(directory))["seed"] == 3
    assert not directory.exists()  # a reader changes nothing


@pytest.mark.parametrize("name", ["nothing", "file", "empty"])
def test_what_is_no_model_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"model must be a model or run directory .*, got .*"):
        resolve_model(tmp_path / name)
