"""What is found in a whole set: duplicates, groups, classes, and rows that are dropped."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fixtures.findings import codes, found, manifest_of
from fixtures.scenes import save, texture, write_folders
from likeness.data.checks import check, drop_unreadable
from likeness.data.findings import Finding
from likeness.data.listing import images_in
from likeness.errors import UserError

DATA = os.environ.get("LIKENESS_DATA")


def test_a_clean_set_has_no_findings_and_full_columns(tmp_path):
    manifest = images_in(write_folders(tmp_path, per_class=3))
    seen = []
    result = check(manifest, on_progress=lambda done, total: seen.append((done, total)))
    assert result.findings == ()
    assert seen == [(k, 6) for k in range(1, 7)]
    table = result.table
    assert table["status"].tolist() == ["ok"] * 6
    assert table["reason"].tolist() == [""] * 6
    assert table[["width", "height", "bands"]].to_numpy().tolist() == [[32, 32, 3]] * 6
    assert set(table["dtype"]) == {"uint8"}
    for path, sha in zip(table["path"], table["sha256"], strict=True):
        assert sha == hashlib.sha256((manifest.root / path).read_bytes()).hexdigest()


def test_the_result_does_not_depend_on_the_threads(tmp_path):
    manifest = images_in(write_folders(tmp_path, per_class=8))
    (manifest.root / "lake" / "0.png").write_bytes(b"x")
    one, four = check(manifest, threads=1), check(manifest, threads=4)
    pd.testing.assert_frame_equal(one.table, four.table)
    assert one.findings == four.findings


def test_errors_come_first_and_the_manifests_findings_are_kept(tmp_path):
    save(tmp_path / "a.png", texture(0, 0))
    (tmp_path / "z.png").write_text("hello")
    early = Finding("warning", "foreign-file", "readme.txt", "left out", "nothing")
    result = check(manifest_of(tmp_path, [("a.png", "", ""), ("z.png", "", "")], [early]))
    assert [f.code for f in result.findings] == ["unreadable", "foreign-file"]


def test_exact_duplicates_are_found_by_their_pixels(tmp_path):
    save(tmp_path / "a.png", texture(0, 0))
    save(tmp_path / "b.bmp", texture(0, 0))  # other bytes, the same picture
    save(tmp_path / "c.png", texture(0, 1))
    same = check(manifest_of(tmp_path, [(n, "x", "train") for n in ("a.png", "b.bmp", "c.png")]))
    assert codes(same) == {("warning", "duplicate")}
    assert (same.findings[0].path, "b.bmp" in same.findings[0].message) == ("a.png", True)
    rows = [("a.png", "x", "train"), ("b.bmp", "x", "test"), ("c.png", "x", "")]
    leak = check(manifest_of(tmp_path, rows))
    assert codes(leak) == {("error", "duplicate-across-splits")}
    assert "in test and train" in leak.findings[0].message


@pytest.mark.parametrize("pictures", [10, 11])
def test_many_pictures_in_several_splits_are_summed_up(tmp_path, pictures):
    rows = []
    for number in range(pictures):
        for split in ("test", "train"):
            name = f"{split}-{number:02d}.png"
            save(tmp_path / name, texture(number, 0))
            rows.append((name, "x", split))
    told = found(check(manifest_of(tmp_path, rows), near_distance=None), "duplicate-across-splits")
    summary = [f.message for f in told if not f.path]
    assert len(told) - len(summary) == pictures
    assert summary == ["11 pictures are in several splits, in 22 files in all"] * (pictures > 10)


def test_one_picture_with_two_labels_names_both(tmp_path):
    save(tmp_path / "a.png", texture(0, 0))
    save(tmp_path / "b.png", texture(0, 0))
    save(tmp_path / "c.png", texture(0, 1))
    save(tmp_path / "d.png", texture(0, 2))
    rows = [("a.png", "x", ""), ("b.png", "y", ""), ("c.png", "x", ""), ("d.png", "y", "")]
    (conflict,) = found(check(manifest_of(tmp_path, rows)), "conflicting-labels")
    assert conflict.level == "warning"
    assert "a.png is 'x', b.png is 'y'" in conflict.message


def test_groups_in_several_splits(tmp_path):
    for n in range(4):
        save(tmp_path / f"{n}.png", texture(0, n))
    rows = [
        ("0.png", "x", "train", "g"),
        ("1.png", "x", "test", "g"),
        ("2.png", "x", "train", "h"),
        ("3.png", "x", "", "h"),
    ]
    (leak,) = check(manifest_of(tmp_path, rows)).findings
    assert (leak.level, leak.code, leak.path) == ("error", "group-in-several-splits", "0.png")
    assert leak.message == "group 'g' is in train and test"


def test_a_class_with_one_usable_image(tmp_path):
    for n in range(4):
        save(tmp_path / f"{n}.png", texture(0, n))
    (tmp_path / "4.png").write_text("hello")
    rows = [(f"{n}.png", "x" if n < 3 else "y", "") for n in range(5)]
    (small,) = found(check(manifest_of(tmp_path, rows)), "class-too-small")
    assert (small.level, small.message) == ("error", "class 'y' has 1 usable image")


def test_checking_a_checked_table_again(tmp_path):
    manifest = images_in(write_folders(tmp_path, per_class=2))
    once = check(manifest)
    again = check(manifest.with_table(once.table))
    pd.testing.assert_frame_equal(again.table, once.table)


def test_nothing_readable_at_all(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    result = check(images_in(tmp_path))
    assert codes(result) == {("error", "unreadable")}


@pytest.mark.plain
def test_options_out_of_range(tmp_path):
    manifest = manifest_of(tmp_path, [("a.png", "x", "")])
    with pytest.raises(UserError, match="bands must be >= 1, got 0"):
        check(manifest, bands=0)
    with pytest.raises(UserError, match=r"near_distance must be in 0\.\.10, got 11"):
        check(manifest, near_distance=11)
    with pytest.raises(UserError, match="threads must be >= 1, got 0"):
        check(manifest, threads=0)


def checked_rows(bad, total, label="x"):
    rows = [(f"{label}{n}.png", label, "ok" if n >= bad else "unreadable") for n in range(total)]
    table = pd.DataFrame(rows, columns=["path", "label", "status"]).astype(str)
    return table.assign(reason=["" if s == "ok" else "truncated" for s in table["status"]])


def test_unreadable_rows_are_dropped_and_listed():
    kept, lines = drop_unreadable(checked_rows(bad=1, total=20))
    assert len(kept) == 19
    assert kept.index.tolist() == list(range(19))
    assert lines == ["x0.png: truncated"]
    kept, lines = drop_unreadable(checked_rows(bad=0, total=20))
    assert (len(kept), lines) == (20, [])


@pytest.mark.plain
def test_too_many_unreadable_rows_are_refused():
    with pytest.raises(UserError) as caught:
        drop_unreadable(checked_rows(bad=2, total=20))
    assert str(caught.value) == (
        "unreadable images must be at most 5% of the data, got 2 of 20; "
        "the first is x0.png: truncated"
    )
    kept, lines = drop_unreadable(checked_rows(bad=2, total=20), limit=0.1)
    assert (len(kept), len(lines)) == (18, 2)


@pytest.mark.plain
def test_a_class_that_falls_under_two_is_refused():
    table = pd.concat([checked_rows(0, 40, "x"), checked_rows(1, 2, "y")], ignore_index=True)
    with pytest.raises(UserError, match="class 'y' must be of >= 2 readable images, got 1"):
        drop_unreadable(table)
    gone = pd.concat([checked_rows(0, 40, "x"), checked_rows(1, 1, "y")], ignore_index=True)
    with pytest.raises(UserError, match="class 'y' must be of >= 2 readable images, got 0"):
        drop_unreadable(gone)


@pytest.mark.data
@pytest.mark.skipif(DATA is None, reason="LIKENESS_DATA is unset")
def test_known_duplicates_of_fer2013_are_found():
    """The groups of equal pixels among the validation faces, counted by another hash."""
    root = Path(DATA, "ferplus", "data", "FER2013Valid")
    result = check(images_in(root))
    by_pixels = {}
    for path in sorted(root.glob("*.png")):
        key = hashlib.md5(np.asarray(Image.open(path)).tobytes()).hexdigest()
        by_pixels.setdefault(key, []).append(path.name)
    groups = [names for names in by_pixels.values() if len(names) > 1]
    assert len(groups) > 10
    assert sorted(f.path for f in found(result, "duplicate")) == sorted(g[0] for g in groups)
