"""The folder of a long job: who may go on there, and what stays in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from likeness.errors import UserError
from likeness.work_folder import LOCK, RECORD, begin, empty, locked, part_file, remove, work_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = work_folder(tmp_path / "map.tif")
    assert made == tmp_path / "map.tif.parts"
    made.mkdir()
    return made


def test_the_same_work_goes_on_and_other_work_is_refused(folder):
    begin(folder, {"model": "m", "size": (4, 2)})
    begin(folder, {"model": "m", "size": [4, 2]})  # as JSON has it
    begin(folder, {"model": "m"})  # what is not asked does not count
    with pytest.raises(UserError, match=r"remove .*map\.tif\.parts .* begun with size \[4, 2\]"):
        begin(folder, {"model": "m", "size": [4, 3]})
    with pytest.raises(UserError, match="begun with stride None"):
        begin(folder, {"model": "m", "stride": 8})
    assert json.loads((folder / RECORD).read_text()) == {"model": "m", "size": [4, 2]}


def test_one_process_at_a_time(folder):
    with (
        locked(folder, Path("map.tif")),
        pytest.raises(UserError, match=r"out must be free, got map\.tif, which another process"),
        locked(folder, Path("map.tif")),
    ):
        pass
    with locked(folder, Path("map.tif")):  # let go of
        assert (folder / LOCK).is_file()


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="out must be a writable place"),
        locked(tmp_path / "file" / "out.parts", Path("out")),
    ):
        pass


def test_emptying_keeps_what_is_named(folder):
    begin(folder, {})
    part_file(folder, 7, "json").write_text("{}")
    (folder / "set" / "deep").mkdir(parents=True)
    (folder / LOCK).touch()
    assert (folder / "part-000007.json").is_file()
    empty(folder, but=(LOCK, RECORD))
    assert {path.name for path in folder.iterdir()} == {LOCK, RECORD}
    empty(folder)
    assert {path.name for path in folder.iterdir()} == {LOCK}


def test_the_record_is_removed_last(folder, monkeypatch):
    begin(folder, {})
    part_file(folder, 0, "json").write_text("{}")

    def cut_off(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", cut_off)
    with pytest.raises(KeyboardInterrupt):
        remove(folder)
    assert [path.name for path in folder.iterdir()] == [RECORD]
    monkeypatch.undo()
    remove(folder)
    assert not folder.exists()
