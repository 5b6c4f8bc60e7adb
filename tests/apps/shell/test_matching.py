"""Which rows are measured: files matched to saved rows by content, each row at most once."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.data.manifest import Manifest
from likeness.errors import UserError
from likeness_apps.shell.matching import EXTERNAL, match_rows, select_rows, wanted_rows


def match(files, saved):
    """Both as "content/path" words; what each file was matched with."""
    contents, paths = zip(*(word.split("/") for word in files), strict=True)
    columns = zip(*(word.split("/") for word in saved), strict=True)
    saved_contents, saved_paths = (pd.Series(column, dtype=str) for column in columns)
    found = match_rows(contents, paths, saved_contents, saved_paths)
    return [saved[row] if row >= 0 else None for row in found]


@pytest.mark.parametrize(
    ("files", "saved", "expected"),
    [
        (["a/1", "b/2"], ["b/2", "a/1"], ["a/1", "b/2"]),
        (["a/new", "c/2"], ["b/2", "a/1"], ["a/1", None]),  # renamed; and other content
        (["a/1", "a/2"], ["a/2", "a/1"], ["a/1", "a/2"]),  # copies keep their own rows
        (["a/x", "a/2"], ["a/1", "a/2"], ["a/1", "a/2"]),  # equal paths first, then the rest
        (["a/2", "a/x"], ["a/1", "a/2"], ["a/2", "a/1"]),
        (["a/x", "a/1"], ["a/1"], [None, "a/1"]),  # a further copy is nobody
        (["a/1", "a/x"], ["a/1"], ["a/1", None]),
        (["a/x", "a/y", "a/z"], ["a/1", "a/2"], ["a/1", "a/2", None]),
        (["/1", "a/2"], ["/1", "a/9"], [None, "a/9"]),  # what cannot be read is like nothing
    ],
)
def test_matches(files, saved, expected):
    assert match(files, saved) == expected


# Content by path: a folder and a table list every path once.
folders = st.dictionaries(st.sampled_from("12345"), st.sampled_from("ab"), min_size=1)


@settings(max_examples=60)
@given(files=folders, saved=folders)
def test_as_many_as_possible_and_each_row_once(files, saved):
    paths, contents = list(saved), list(saved.values())
    found = match_rows(files.values(), files, pd.Series(contents), pd.Series(paths))
    matched = [row for row in found if row >= 0]
    assert len(set(matched)) == len(matched)
    for (path, content), row in zip(files.items(), found, strict=True):
        assert row < 0 or contents[row] == content
        if saved.get(path) == content:
            assert paths[row] == path
    for content in "ab":
        there = list(files.values()).count(content)
        assert sum(contents[row] == content for row in matched) == min(
            there, contents.count(content)
        )


def set_and_model(files, saved, classes="xy"):
    """Files as "content label" words, saved rows as "content split" words."""
    rows = [dict(zip(("sha256", "label"), word.split("-"), strict=True)) for word in files]
    table = pd.DataFrame(rows).assign(path=[f"{row}.png" for row in range(len(rows))], split="")
    kept = [dict(zip(("sha256", "split"), word.split("-"), strict=True)) for word in saved]
    splits = pd.DataFrame(kept).assign(path=[f"s{row}.png" for row in range(len(kept))])
    table, splits = table.assign(group=table["path"]), splits.assign(group="block")
    return Manifest(Path("root"), table, "folder"), SimpleNamespace(
        splits=splits, classes=list(classes)
    )


def asked_rows(manifest, bundle, split):
    wanted = wanted_rows(manifest, bundle, split, bundle.classes)
    hashes = manifest.table["sha256"]
    return [row for row, sha256 in enumerate(hashes) if sha256 and wanted(row, sha256)]


contents = st.sampled_from("abcd")
files_of = st.lists(
    st.builds("{}-{}".format, contents, st.sampled_from(["x", "y", ""])), min_size=1
)
saved_of = st.lists(st.builds("{}-{}".format, contents, st.sampled_from(["train", "test"])))


@settings(max_examples=60)
@given(files=files_of, saved=saved_of.filter(len), split=st.sampled_from(["test", "train", "all"]))
def test_every_row_that_is_selected_was_asked_about(files, saved, split):
    manifest, bundle = set_and_model(files, saved)
    asked = asked_rows(manifest, bundle, split)
    try:
        rows, _ = select_rows(manifest, bundle, split, manifest.table["sha256"], quiet=True)
    except UserError:
        return
    assert set(rows.index) <= set(asked)


def test_little_more_is_asked_about_than_needed():
    saved = ["a-train", "b-test", "c-test"]
    manifest, bundle = set_and_model(["a-x", "b-x", "n-y", "c-y", "c-", "m-y"], saved)
    assert asked_rows(manifest, bundle, "test") == [1, 3]  # strangers among the model's own: no
    assert asked_rows(manifest, bundle, "train") == [0]
    assert asked_rows(manifest, bundle, "val") == []
    assert asked_rows(manifest, bundle, "all") == [0, 1, 2, 3, 5]
    late, _ = set_and_model(["n-y", "a-x", "b-x", "m-y"], saved)
    assert asked_rows(late, bundle, "test") == [0, 2]  # until the first of the model's own


def test_a_set_of_strangers_is_asked_about_unless_it_is_refused():
    manifest, bundle = set_and_model(["n-y", "m-", "o-x"], ["a-train", "b-test"])
    assert asked_rows(manifest, bundle, "test") == [0, 2]
    assert asked_rows(manifest, bundle, "train") == []
    rows, name = select_rows(manifest, bundle, "test", manifest.table["sha256"], quiet=True)
    assert (rows.index.tolist(), name) == ([0, 2], EXTERNAL)
    other, _ = set_and_model(["n-y", "o-z"], ["a-train"])
    assert asked_rows(other, bundle, "test") == asked_rows(other, bundle, "all") == []


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_the_models_own_pictures_keep_their_groups(split):
    manifest, bundle = set_and_model(["b-y", "n-x", "a-x", "b-x"], ["a-train", "b-test"])
    rows, _ = select_rows(manifest, bundle, split, manifest.table["sha256"], quiet=True)
    known = {0: "block", 1: "1.png", 2: "block", 3: "3.png"}  # 3 is a further copy: nobody's
    assert rows["group"].to_dict() == {row: known[row] for row in rows.index}
