"""Which rows are measured: files matched to saved rows by content, each row at most once."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness_apps.shell.evaluate import match_rows


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


@settings(max_examples=60, deadline=None)
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
