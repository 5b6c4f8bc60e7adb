import numpy as np
import pandas as pd
import pytest

from fixtures.scenes import save, texture, write_folders, write_table
from likeness.data.listing import images_in, walk
from likeness.data.manifest import Manifest, build, split_name
from likeness.data.tables import read_table
from likeness.errors import UserError


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_table_round_trip(tmp_path, form):
    manifest = read_table(write_table(tmp_path, form, splits=("train", "test")))
    assert manifest.layout == "table"
    assert manifest.root == tmp_path
    assert manifest.classes == ["lake", "town"]
    assert manifest.table["path"].tolist() == sorted(manifest.table["path"])
    assert manifest.table["group"].tolist() == manifest.table["path"].tolist()
    assert set(manifest.table["split"]) == {"train", "test"}
    manifest.write_csv(tmp_path / "again.csv")
    again = read_table(tmp_path / "again.csv")
    pd.testing.assert_frame_equal(again.table, manifest.table)


def test_rows_of_a_split_keep_their_place(tmp_path):
    manifest = read_table(write_table(tmp_path, splits=("train", "test")))
    rows = manifest.rows("test")
    assert len(rows) == 4
    assert (manifest.table.loc[rows.index, "split"] == "test").all()
    with pytest.raises(UserError, match="split must be one of train, val, test, got 'gallery'"):
        manifest.rows("gallery")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_byte_order_marks_blanks_and_windows_paths(tmp_path, separator, encoding):
    lines = ["path,label,split,camera", "b\\1.jpg, Zürich ,Validation,007", "a/2.jpg,NA,,", ""]
    text = "\r\n".join(lines).replace(",", separator)
    table = read_table(write(tmp_path / "t.csv", text, encoding)).table
    assert table["path"].tolist() == ["a/2.jpg", "b/1.jpg"]
    assert table["label"].tolist() == ["NA", "Zürich"]  # "NA" is a name, not a gap
    assert table["split"].tolist() == ["", "val"]
    assert table["camera"].tolist() == ["", "007"]  # text stays as written


def test_numbers_from_parquet_become_plain_labels(tmp_path):
    frame = pd.DataFrame({"path": ["a", "b", "c"], "label": [0.0, 3.0, 1.5], "frame": [1, 2, 3]})
    frame.to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet").table
    assert table["label"].tolist() == ["0", "3", "1.5"]
    assert table["frame"].tolist() == [1, 2, 3]


def test_missing_groups_become_the_image_itself(tmp_path):
    text = "path,label,group\na,x,g\nb,x,\n"
    assert read_table(write(tmp_path / "t.csv", text)).table["group"].tolist() == ["g", "b"]


@pytest.mark.plain
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image,label\na,x\n", "t.csv must have a column 'path', got image, label"),
        ("path,lable\na,x\n", "t.csv must have a column 'label', got path, lable"),
        ("path,label\n", "t.csv must be a table of at least one image, got 'no row'"),
        ("path,label\na,x\nb, \n", "label in row 2 of t.csv must be given, got ''"),
        ("path,label\n,x\n", "path in row 1 of t.csv must be given, got ''"),
        (
            "path,label,split\na,x,train\nb,x,gallery\n",
            "split in row 2 of t.csv must be one of train, val, test or empty, got 'gallery'",
        ),
        (
            "path,label\na,x\n./a,y\n",
            "path in row 2 of t.csv must be listed once, got './a' as in row 1",
        ),
        (
            "path,label\na,x\nb/../../c,y\n",
            "path in row 2 of t.csv must be inside the table's folder, got 'b/../../c'",
        ),
        (
            "path,label\n/etc/passwd,x\n",
            "path in row 1 of t.csv must be inside the table's folder, got '/etc/passwd'",
        ),
        (
            "path,label\n..\\c,x\n",
            "path in row 1 of t.csv must be inside the table's folder, got '..\\\\c'",
        ),
        ("path,label,path \na,x,b\n", "t.csv must be a table with one column per name"),
    ],
)
def test_one_sentence_says_what_is_wrong_with_a_table(tmp_path, text, sentence):
    with pytest.raises(UserError) as caught:
        read_table(write(tmp_path / "t.csv", text))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n\x00\xff\xfe"])
def test_a_file_that_is_no_table(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="must be a readable table, got ") as caught:
        read_table(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lines", ["a,x\nb,y,z\n", "a,x,z\nb,y\n", "a,x,1\nb,y,2\n"])
def test_a_line_with_too_many_cells_is_refused(tmp_path, lines):
    with pytest.raises(UserError, match="must be a readable table"):
        read_table(write(tmp_path / "t.csv", "path,label\n" + lines))


def test_a_table_without_labels_is_enough_to_predict(tmp_path):
    table = read_table(write(tmp_path / "t.csv", "path\nb\na\n"), labelled=False).table
    assert table["label"].tolist() == ["", ""]
    half = write(tmp_path / "h.csv", "path,label\na,\nb,x\n")
    assert read_table(half, labelled=False).classes == ["x"]


def test_absolute_paths_inside_the_folder_become_relative(tmp_path):
    text = f"path,label\n{tmp_path / 'a' / '1.jpg'},x\n"
    assert read_table(write(tmp_path / "t.csv", text)).table["path"].tolist() == ["a/1.jpg"]


@pytest.mark.plain
def test_other_files_and_missing_tables(tmp_path):
    with pytest.raises(UserError, match=r"table must be an existing \.csv or \.parquet file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"table must be a \.csv or \.parquet file"):
        read_table(write(tmp_path / "t.xlsx", "x"))


def test_split_names():
    assert split_name(" Validation ") == "val"
    assert split_name("TRAIN") == "train"
    assert split_name("testing") == "test"
    assert split_name("query") is None


def test_walk_lists_images_and_what_it_left_out(tmp_path):
    save(tmp_path / "a" / "1.PNG", texture(0, 0), "PNG")
    save(tmp_path / ".git" / "2.png", texture(0, 1))
    save(tmp_path / ".hidden.png", texture(0, 1))
    for name in ("Thumbs.db", "readme.txt", "a/labels.csv"):
        (tmp_path / name).write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path)
    images, foreign = walk(tmp_path)
    assert images == ["a/1.PNG"]
    assert foreign == [".git/", ".hidden.png", "Thumbs.db", "a/labels.csv", "readme.txt"]


def test_links_to_image_folders_are_followed(tmp_path):
    save(tmp_path / "elsewhere" / "1.png", texture(0, 0))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "lake").symlink_to(tmp_path / "elsewhere")
    assert walk(tmp_path / "set")[0] == ["lake/1.png"]


def test_images_in_a_folder_or_alone(tmp_path):
    top = write_folders(tmp_path)
    manifest = images_in(top)
    assert (manifest.layout, len(manifest.table)) == ("images", 8)
    assert manifest.classes == []
    alone = images_in(top / "lake" / "0.png")
    assert alone.table["path"].tolist() == ["0.png"]
    assert alone.file("0.png") == top / "lake" / "0.png"


@pytest.mark.plain
def test_images_in_nothing(tmp_path):
    with pytest.raises(UserError, match="input must be an existing folder, image or table"):
        images_in(tmp_path / "none")
    with pytest.raises(UserError, match="input must be a folder with image files in it"):
        images_in(tmp_path)


def test_build_sorts_rows_together_with_their_columns(tmp_path):
    manifest = build(tmp_path, {"path": ["b", "a"], "label": ["y", "x"], "frame": [2, 1]}, "l")
    assert manifest.table["label"].tolist() == ["x", "y"]
    assert manifest.table["frame"].tolist() == [1, 2]
    assert manifest.table.index.tolist() == [0, 1]
    assert isinstance(manifest, Manifest)
    shorter = manifest.with_table(manifest.table[manifest.table["label"] == "y"])
    assert shorter.table.index.tolist() == [0]
    assert np.issubdtype(manifest.table["frame"].dtype, np.integer)


@pytest.mark.parametrize(
    ("cells", "told"),
    [("1,0,,1", "row 3 holds ''"), ("1,0,1,2", "row 4 holds '2'"), ("5,6,7,8", None)],
)
def test_a_column_that_is_almost_a_label_is_told(tmp_path, cells, told):
    names = zip("abcd", "1010", "1101", cells.split(","), strict=True)
    text = "path,sea,sand,trees\n" + "".join(",".join(row) + "\n" for row in names)
    manifest = read_table(write(tmp_path / "t.csv", text))
    assert manifest.classes == ["sand", "sea"]
    assert manifest.table["trees"].tolist() == cells.split(",")
    found = [(finding.level, finding.path, finding.message) for finding in manifest.findings]
    message = f"column 'trees' is read as no label: {told}, where others hold 0 or 1"
    assert found == ([] if told is None else [("error", "t.csv", message)])
