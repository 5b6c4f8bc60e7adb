"""An archive and its answers: copies, labels, failures, and what a full disk leaves."""

import errno
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fixtures.scenes import save, texture
from likeness.bundle import load_bundle
from likeness.errors import UserError
from likeness.files import sha256_file
from likeness_apps.remote_sensing.domain import DOMAIN
from likeness_apps.shell import answers
from likeness_apps.shell import search as room
from likeness_apps.shell.search import index, search, test_queries
from likeness_apps.shell.tasks import task_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of three, and a copy of one picture in the other class."""
    top = tmp_path_factory.mktemp("archive") / "scenes"
    for kind, name in enumerate(("beach", "lake")):
        for number in range(3):
            save(top / name / f"{number}.png", texture(kind, 200 + number))
    shutil.copy(top / "beach" / "0.png", top / "lake" / "copy.png")
    return top


@pytest.fixture(scope="module")
def small_archive(run, folder, tmp_path_factory):
    return index(DOMAIN, run, folder, tmp_path_factory.mktemp("index") / "index", quiet=True)


def ask(archive, query, **options):
    return search(DOMAIN, archive, query, quiet=True, **options)


def test_no_copy_of_a_query_is_an_answer(small_archive, folder):
    found = ask(small_archive, folder / "beach" / "0.png", k=5)
    assert len(found) == 5
    assert not {"beach/0.png", "lake/copy.png"} & set(found["path"])
    with pytest.raises(UserError, match="k must be between 1 and 5, the rows of the index without"):
        ask(small_archive, folder / "beach" / "0.png", k=6)
    # Other queries see both copies.
    found = ask(small_archive, folder / "lake" / "1.png", k=6)
    assert {"beach/0.png", "lake/copy.png"} <= set(found["path"])
    distances = found.set_index("path")["distance"]
    assert distances["beach/0.png"] == distances["lake/copy.png"]


def test_many_queries_are_answered_each_for_itself(small_archive, folder):
    together = ask(small_archive, folder, k=4)
    assert len(together) == 7 * 4
    for query, rows in together.groupby("query"):
        alone = ask(small_archive, room.Path(query), k=4)
        assert rows["path"].tolist() == alone["path"].tolist()
        assert rows["rank"].tolist() == [1, 2, 3, 4]
        np.testing.assert_allclose(rows["distance"], alone["distance"], atol=1e-5)


def test_a_list_of_queries_keeps_its_order(small_archive, folder):
    files = [folder / "lake" / "2.png", folder / "beach" / "1.png"]
    found = ask(small_archive, files, k=1)
    assert found["query"].tolist() == [str(file) for file in files]


def test_rows_carry_what_the_data_said(small_archive, folder):
    found = ask(small_archive, folder / "lake" / "0.png", k=6)
    assert found["label"].tolist() == [path.split("/")[0] for path in found["path"]]
    assert found["sha256"].tolist() == [sha256_file(folder / path) for path in found["path"]]
    assert list(found.columns[:5]) == ["query", "status", "reason", "rank", "distance"]


def test_a_sheet_says_which_model_answers(small_archive, run, folder, tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(answers, "write_sheet", lambda *_, title, **__: titles.append(title))
    ask(small_archive, folder / "lake" / "1.png", k=2, sheet=tmp_path / "sheet.png")
    assert titles == [f"likeness remote-sensing, model {load_bundle(run / 'model').model_id}"]


def test_a_sheet_marks_right_and_wrong_only_where_labels_are_known(archive, run, scenes, tmp_path):
    """The class of a query is known by content, whatever it is called."""
    query = tmp_path / "unnamed.tif"
    shutil.copy(scenes / "Images" / "beach" / "beach05.tif", query)
    bundle = load_bundle(run)
    hashes = [sha256_file(query), "unknown"]
    assert room.known_labels(bundle, hashes) == ["beach", ""]
    found = ask(archive, query, k=30)
    (asked,) = room.ask_files(bundle, query, quiet=True).queries
    assert (asked.name, asked.title, asked.label) == (str(query), query.name, "beach")

    def picture(hit):
        return room.thumbnail(scenes / "Images" / hit.path)

    (row,) = answers._sheet_rows(found, [asked], picture, task_of([], multilabel=False))
    assert len(row.results) == answers.SHEET_COLUMNS
    for item, hit in zip(row.results, found.itertuples(), strict=False):
        assert item.right == (hit.label == "beach")
        assert item.picture_HWC is not None
    unknown = replace(asked, label="")
    (row,) = answers._sheet_rows(found, [unknown], lambda hit: None, task_of([], multilabel=False))
    assert {item.right for item in row.results} == {None}
    assert {item.picture_HWC is None for item in row.results} == {True}


def test_queries_for_a_demonstration_are_test_images(run, scenes):
    files = test_queries(DOMAIN, run, scenes, count=2)
    splits = pd.read_csv(run / "splits.csv").set_index("path")
    names = [file.relative_to(scenes / "Images").as_posix() for file in files]
    assert splits.loc[names, "split"].tolist() == ["test", "test"]
    assert splits.loc[names, "label"].nunique() == 2


test_queries.__test__ = False


def test_images_that_cannot_be_read_are_left_out(run, folder, tmp_path, capsys):
    mixed = tmp_path / "mixed"
    shutil.copytree(folder, mixed)
    (mixed / "lake" / "bad.png").write_bytes(b"no image")
    index(DOMAIN, run, mixed, tmp_path / "index")
    printed = capsys.readouterr().out
    assert "left out: lake/bad.png: " in printed
    assert "7 images" in printed
    assert len(ask(tmp_path / "index", folder / "lake" / "0.png", k=6)) == 6


def test_a_table_of_paths_is_an_archive(run, folder, tmp_path):
    table = folder.parent / "some.csv"
    table.write_text("path\nscenes/lake/0.png\nscenes/lake/1.png\nscenes/none.png\n")
    index(DOMAIN, run, table, tmp_path / "index", quiet=True)
    found = ask(tmp_path / "index", folder / "lake" / "0.png", k=1)
    assert found["path"].tolist() == ["scenes/lake/1.png"]
    assert found["label"].tolist() == [""]


def test_the_model_travels_unchanged(run, small_archive):
    first, second = load_bundle(run), load_bundle(small_archive / "model")
    assert first.model_id == second.model_id
    assert {path.name for path in (small_archive / "model").iterdir()} == {
        path.name for path in (run / "model").iterdir()
    }


def test_a_full_disk_leaves_no_half_model(run, folder, tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(room.shutil, "copyfile", full)
    with pytest.raises(UserError, match="No space left"):
        index(DOMAIN, run, folder, tmp_path / "index", quiet=True)
    assert not (tmp_path / "index" / "model").exists()
    # And such an index is not searched, but may be made again.
    with pytest.raises(UserError, match="index must be a directory that `index` wrote"):
        ask(tmp_path / "index", folder / "lake" / "0.png", k=1)
    monkeypatch.undo()
    index(DOMAIN, run, folder, tmp_path / "index", quiet=True)
    assert len(ask(tmp_path / "index", folder / "lake" / "0.png", k=1)) == 1


def test_answers_are_written_as_they_are_given(small_archive, folder, tmp_path):
    query = folder / "lake" / "0.png"
    given = ask(small_archive, query, k=3, out=tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), given, check_dtype=False)
    ask(small_archive, query, k=3, out=tmp_path / "a.csv")
    found = pd.read_csv(tmp_path / "a.csv", keep_default_na=False)
    assert found["path"].tolist() == given["path"].tolist()
    np.testing.assert_allclose(found["distance"], given["distance"], rtol=1e-6)
