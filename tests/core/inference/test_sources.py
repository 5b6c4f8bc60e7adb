"""What is listed, in which order, from folders, tables and single files."""

import os

import pandas as pd
import pytest

from likeness.errors import UserError
from likeness.inference import sources
from likeness.inference.sources import Listed, open_source


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_a_folder_is_listed_in_the_order_of_whole_paths(tmp_path):
    names = [
        "a.png",
        "a/z.png",
        "a-b/c.png",
        "a/b/c.jpg",
        "B.JPG",
        "a.b/x.tif",
        "é/ü.png",
        "a0.bmp",
    ]
    touch(tmp_path, *names)
    source = open_source(tmp_path)
    assert list(source.paths()) == sorted(names)
    assert list(source.paths()) == sorted(names)  # and again


def test_masks_among_the_images_are_left_out(tmp_path):
    for name in ("a.jpg", "a_segmentation.png", "b.png", "c_segmentation.png"):
        (tmp_path / name).write_bytes(b"")
    source = open_source(tmp_path)
    assert list(source.paths()) == ["a.jpg", "b.png", "c_segmentation.png"]  # c has no image
    assert source.left_out == 1


def test_many_names_are_sorted_by_way_of_the_disk(tmp_path, monkeypatch):
    names = [f"{index * 7919 % 100:02d}\n.png" for index in range(100)]
    touch(tmp_path, *names, "sub/x.png")
    monkeypatch.setattr(sources, "NAMES_IN_MEMORY", 9)
    assert list(open_source(tmp_path).paths()) == sorted([*names, "sub/x.png"])


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path / "data", "one/x.png")
    touch(tmp_path / "elsewhere", "y.png")
    (tmp_path / "data" / "two").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "one" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "gone.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "data" / "self.png").symlink_to("self.png")
    listed = list(open_source(tmp_path / "data").paths())
    assert listed == ["gone.png", "one/x.png", "self.png", "two/y.png"]


def test_a_single_file_whatever_its_ending(tmp_path):
    touch(tmp_path, "scan.dat")
    source = open_source(tmp_path / "scan.dat")
    assert (source.root, list(source.paths())) == (tmp_path, ["scan.dat"])


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize("column", ["path", "image"])
def test_tables_keep_their_order_and_repeats(tmp_path, ending, column):
    names = ["z/1.png", "a.png", "z/1.png", "a b, c.png"]
    frame = pd.DataFrame({"label": list("wxyz"), column: names})
    table = tmp_path / f"list.{ending}"
    if ending == "parquet":
        frame.to_parquet(table)
    else:
        frame.to_csv(table, index=False, sep="," if ending == "csv" else "\t")
    source = open_source(table)
    assert source.root == tmp_path
    assert list(source.paths()) == names


def test_cells_become_posix_paths_relative_to_the_root(tmp_path):
    table = tmp_path / "list.csv"
    rows = ["./a/../b.png", "c\\d.png", str(tmp_path / "e.png"), "/far/f.png", "", "../g.png"]
    table.write_text("path;label\n" + "".join(f"{row};x\n" for row in rows), encoding="utf-8-sig")
    listed = list(open_source(table).paths())
    assert listed == ["b.png", "c/d.png", "e.png", "/far/f.png", "", "../g.png"]


def test_a_table_relative_to_another_root(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "list.csv").write_text("path\nx.png\n")
    assert open_source(tmp_path / "list.csv", tmp_path / "images").root == tmp_path / "images"
    with pytest.raises(UserError, match="root must be an existing folder"):
        open_source(tmp_path / "list.csv", tmp_path / "none")


def test_a_list_can_be_given(tmp_path):
    source = Listed(tmp_path, "rows", ["b.png", "a.png"])
    assert list(source.paths()) == ["b.png", "a.png"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", b"file,label\nx,y\n", r"t.csv must have a column 'path', got file, label"),
        ("t.csv", b"", r"t.csv must have a column 'path', got no column"),
        ("t.csv", b"path\n\xff\xfe.png\n", r"input must be a readable table, got .*t.csv: .*"),
        ("t.parquet", b"PAR1 not really", r"input must be a readable table, got .*t.parquet: .*"),
    ],
)
def test_broken_tables_are_one_sentence(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"^{sentence}$"):
        list(open_source(tmp_path / name).paths())


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    touch(tmp_path, "open/a.png", "shut/b.png")
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("shut/"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", lambda folder: refuse(f"{folder}/"))
    with pytest.raises(UserError, match=r"^input must be a readable folder, got .*shut.*: Perm"):
        list(open_source(tmp_path).paths())
