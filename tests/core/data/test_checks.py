import hashlib
import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fixtures.scenes import save, texture, write_folders, write_geotiff
from likeness.data.checks import check, drop_unreadable
from likeness.data.findings import Finding
from likeness.data.listing import images_in
from likeness.data.manifest import build
from likeness.data.twins import near_pairs
from likeness.errors import UserError

DATA = os.environ.get("LIKENESS_DATA")


def picture(seed, side=64):
    """A smooth, coloured scene, as recompression and rescaling presuppose."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def manifest_of(root, rows, findings=()):
    """Rows (path, label, split) or (path, label, split, group)."""
    names = ("path", "label", "split", "group")
    columns = {name: [(*row, "")[k] for row in rows] for k, name in enumerate(names)}
    return build(root, columns, "table", findings)


def found(result, code):
    return [f for f in result.findings if f.code == code]


def codes(result):
    return {(f.level, f.code) for f in result.findings}


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


def test_every_kind_of_bad_file_is_told_and_stops_nothing(tmp_path):
    save(tmp_path / "good.png", texture(0, 0))
    save(tmp_path / "other.png", texture(0, 1))
    whole = save(tmp_path / "cut.jpg", texture(0, 2, side=64)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    names = ["good.png", "other.png", "cut.jpg", "text.png", "empty.png", "missing.png"]
    result = check(manifest_of(tmp_path, [(name, "x", "") for name in names]))
    status = dict(zip(result.table["path"], result.table["status"], strict=True))
    assert status == {
        "cut.jpg": "unreadable",
        "empty.png": "unreadable",
        "good.png": "ok",
        "missing.png": "unreadable",
        "other.png": "ok",
        "text.png": "unreadable",
    }
    reasons = {f.path: f.message for f in found(result, "unreadable")}
    assert set(reasons) == {"cut.jpg", "empty.png", "missing.png", "text.png"}
    assert "truncated" in reasons["cut.jpg"]
    assert reasons["missing.png"] == "no such file"
    assert reasons["empty.png"] == "the file is empty"
    assert all(f.level == "error" and f.advice for f in result.errors)
    assert result.table.set_index("path")["sha256"]["missing.png"] == ""


def test_errors_come_first_and_the_manifests_findings_are_kept(tmp_path):
    save(tmp_path / "a.png", texture(0, 0))
    (tmp_path / "z.png").write_text("hello")
    early = Finding("warning", "foreign-file", "readme.txt", "left out", "nothing")
    result = check(manifest_of(tmp_path, [("a.png", "", ""), ("z.png", "", "")], [early]))
    assert [f.code for f in result.findings] == ["unreadable", "foreign-file"]


def test_band_counts(tmp_path):
    for n in range(3):
        save(tmp_path / f"{n}.png", texture(0, n))
    save(tmp_path / "grey.png", texture(0, 9)[..., :1])
    write_geotiff(tmp_path / "many.tif", texture(0, 8, bands=5))
    manifest = images_in(tmp_path)
    result = check(manifest)
    assert codes(result) == {("error", "unusable"), ("warning", "grey")}
    assert found(result, "unusable")[0].message == "5 bands where 3 are expected"
    assert found(result, "grey")[0].path == "grey.png"
    grey = check(manifest, grey=True)
    assert codes(grey) == {("error", "unusable")}
    assert found(grey, "unusable")[0].message == "5 bands where 1 are expected"
    assert grey.table.loc[grey.table["status"] == "ok", "bands"].tolist() == [1] * 4
    five = check(manifest, bands=5)
    assert five.table["status"].tolist().count("ok") == 1


def test_tiny_constant_and_mixed_types(tmp_path):
    for n in range(3):
        save(tmp_path / f"{n}.png", texture(0, n))
    save(tmp_path / "flat.png", np.full((32, 32, 3), 7, np.uint8))
    save(tmp_path / "tiny.png", texture(0, 5, side=15))
    write_geotiff(tmp_path / "deep.tif", texture(0, 6, dtype="uint16"))
    save(tmp_path / "grey.png", texture(0, 7)[..., :1])
    result = check(images_in(tmp_path))
    told = {(f.code, f.path) for f in result.findings}
    assert told == {
        ("constant", "flat.png"),
        ("tiny", "tiny.png"),
        ("unusable", "deep.tif"),
        ("grey", "grey.png"),
    }
    (deep,) = result.errors
    assert deep.message == "uint16 pixels where uint8 are expected"
    dtypes = result.table.set_index("path")["dtype"]
    assert (dtypes["deep.tif"], dtypes["grey.png"]) == ("uint16", "uint8")
    assert not found(check(images_in(tmp_path), min_side=15), "tiny")


def test_no_data_pixels(tmp_path):
    whole = texture(0, 0, dtype="float32")
    holes, infinite, nothing = whole.copy(), whole.copy(), np.full_like(whole, np.nan)
    holes[:8] = np.nan
    infinite[0, 0, 0], infinite[0, 0, 1] = np.inf, -np.inf
    write_geotiff(tmp_path / "whole.tif", whole)
    write_geotiff(tmp_path / "holes.tif", holes)
    write_geotiff(tmp_path / "infinite.tif", infinite)
    write_geotiff(tmp_path / "nothing.tif", nothing)
    result = check(images_in(tmp_path))
    messages = {f.path: f.message for f in found(result, "no-data")}
    assert set(messages) == {"holes.tif", "infinite.tif"}
    assert messages["holes.tif"].startswith("25.0% ")
    assert [f.path for f in found(result, "unusable")] == ["nothing.tif"]


def test_no_data_pixels_of_integers(tmp_path):
    counted = np.maximum(texture(1, 0, dtype="int16"), 1)
    write_geotiff(tmp_path / "whole.tif", counted, nodata=-1)
    half, nothing = counted.copy(), np.full_like(counted, -1)
    half[:16] = -1
    write_geotiff(tmp_path / "half.tif", half, nodata=-1)
    write_geotiff(tmp_path / "nothing.tif", nothing, nodata=-1)
    result = check(images_in(tmp_path))
    (told,) = found(result, "no-data")
    assert told.path == "half.tif"
    assert told.message.startswith("50.0% ")
    (empty,) = found(result, "unusable")
    assert (empty.path, empty.message) == ("nothing.tif", "no valid pixel")
    assert set(result.table["dtype"]) == {"int16"}


def placed(path, seed, crs="EPSG:32632", size=10.0, at=(500_000.0, 5_000_000.0)):
    return write_geotiff(
        path, texture(0, seed), crs=crs, transform=(size, 0, at[0], 0, -size, at[1])
    )


def test_places_are_columns(tmp_path):
    placed(tmp_path / "a.tif", 0)
    placed(tmp_path / "b.tif", 1, size=9.5)
    result = check(images_in(tmp_path))
    assert result.findings == ()
    first = result.table.set_index("path").loc["a.tif"]
    assert first["crs"] == "EPSG:32632"
    edges = [first[name] for name in ("left", "bottom", "right", "top")]
    assert edges == [500_000.0, 4_999_680.0, 500_320.0, 5_000_000.0]
    assert result.table["resolution"].tolist() == [10.0, 9.5]


def test_images_without_a_crs_among_others(tmp_path):
    placed(tmp_path / "a.tif", 0)
    save(tmp_path / "b.png", texture(0, 1))
    (told,) = check(images_in(tmp_path)).findings
    assert (told.level, told.code, told.path) == ("warning", "no-crs", "b.png")
    (tmp_path / "a.tif").unlink()
    result = check(images_in(tmp_path))
    assert result.findings == ()  # a set without any place is nothing to warn of
    assert result.table["crs"].tolist() == [""]
    assert result.table["resolution"].isna().all()


def test_several_ground_resolutions(tmp_path):
    placed(tmp_path / "a.tif", 0)
    placed(tmp_path / "b.tif", 1, size=10.9)
    assert check(images_in(tmp_path)).findings == ()
    placed(tmp_path / "c.tif", 2, size=30.0)
    placed(tmp_path / "d.tif", 3, size=10.0)
    (told,) = check(images_in(tmp_path)).findings
    assert (told.level, told.code, told.path) == ("warning", "mixed-resolution", "c.tif")
    assert "30 m" in told.message
    assert "from which 1 images differ" in told.message


def test_chosen_bands_are_what_is_checked(tmp_path):
    whole = texture(0, 0, bands=5)
    whole[..., 3] = 7
    write_geotiff(tmp_path / "a.tif", whole)
    save(tmp_path / "b.png", texture(0, 1))
    result = check(images_in(tmp_path), band_numbers=[4])
    assert result.table["bands"].tolist() == [1, 0]
    assert {(f.code, f.path) for f in result.findings} == {
        ("constant", "a.tif"),
        ("unreadable", "b.png"),
    }
    assert found(result, "unreadable")[0].message == "band 4 where the file has 3"


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


def test_rescaled_and_recompressed_copies_are_near_duplicates(tmp_path):
    original = picture(0)
    save(tmp_path / "a.png", original)
    save(tmp_path / "b.jpg", original)
    half = np.asarray(Image.fromarray(original).resize((32, 32), Image.Resampling.BILINEAR))
    save(tmp_path / "c.png", half)
    save(tmp_path / "d.png", np.clip(original.astype(int) + 12, 0, 255).astype(np.uint8))
    for n in range(1, 12):
        save(tmp_path / f"other-{n}.png", picture(n))
    names = [p.name for p in tmp_path.iterdir()]
    rows = [(n, "x", "test" if n == "c.png" else "train") for n in names]
    result = check(manifest_of(tmp_path, rows))
    assert codes(result) == {("warning", "near-duplicate-across-splits")}
    assert result.findings[0].path == "a.png"
    twins = result.table.set_index("path")["twin"]
    assert twins[twins != ""].to_dict() == dict.fromkeys(
        ["a.png", "b.jpg", "c.png", "d.png"], "a.png"
    )
    within = check(manifest_of(tmp_path, [(n, "x", "") for n in names]))
    assert codes(within) == {("warning", "near-duplicate")}


def test_equal_hashes_of_different_scenes_are_told_apart(tmp_path):
    """The hash compares neighbours in a row only, so a slope from top to bottom escapes it."""
    flat = picture(0).astype(float) * 0.3
    slope = np.linspace(0, 170, 64)[:, None, None]
    save(tmp_path / "a.png", flat.astype(np.uint8))
    save(tmp_path / "b.png", (flat + slope).astype(np.uint8))
    save(tmp_path / "c.png", (flat + slope[::-1]).astype(np.uint8))
    assert check(images_in(tmp_path)).findings == ()


def test_calm_seas_are_not_taken_for_each_other(tmp_path):
    ramp = np.linspace(0, 4, 64)[None, :, None]
    for n in range(3):
        noise = np.random.default_rng(n).normal(0, 0.4, (64, 64, 3))
        save(tmp_path / f"{n}.png", np.rint(100 + ramp + noise).astype(np.uint8))
    assert check(images_in(tmp_path)).findings == ()


def test_plain_images_are_not_taken_for_each_other(tmp_path):
    for n in range(4):
        noise = np.random.default_rng(n).integers(0, 3, (32, 32, 3))
        save(tmp_path / f"{n}.png", (100 + noise).astype(np.uint8))
    assert check(images_in(tmp_path)).findings == ()


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


@pytest.mark.parametrize("distance", [0, 1, 4, 10])
@pytest.mark.parametrize("spread", [64, 12])
def test_near_pairs_equals_comparing_all_with_all(distance, spread):
    """With `spread` 12 only low bits vary, so that most hashes share most fields."""
    generator = np.random.default_rng(distance)
    base = generator.integers(0, 2**spread - 1, 60, dtype=np.uint64)
    flips = [
        sum(1 << int(b) for b in generator.choice(spread, generator.integers(0, 12), replace=False))
        for _ in range(60)
    ]
    hashes = np.concatenate([base, base ^ np.array(flips, np.uint64), base[:5]])
    expected = {
        (i, j)
        for i, j in combinations(range(len(hashes)), 2)
        if bin(int(hashes[i]) ^ int(hashes[j])).count("1") <= distance
    }
    got = {
        (min(i, j), max(i, j))
        for left, right in near_pairs(hashes, distance)
        for i, j in zip(left.tolist(), right.tolist(), strict=True)
    }
    assert got == expected
    assert len(expected) >= 5


@pytest.mark.parametrize("count", [0, 1])
def test_near_pairs_of_nothing(count):
    assert [len(left) for left, _ in near_pairs(np.zeros(count, np.uint64), 4)] in ([], [0])


def test_near_pairs_of_many_hashes_stays_small():
    hashes = np.random.default_rng(0).integers(0, 2**63, 50_000, dtype=np.uint64)
    hashes[-1] = hashes[0] ^ np.uint64(7)
    found_pairs = [
        tuple(sorted((int(a), int(b))))
        for left, right in near_pairs(hashes, 4)
        for a, b in zip(left, right, strict=True)
    ]
    assert set(found_pairs) == {(0, 49_999)}


@pytest.mark.data
@pytest.mark.skipif(DATA is None, reason="LIKENESS_DATA is unset")
def test_real_scenes_are_clean_and_a_planted_copy_is_found(tmp_path):
    source = Path(DATA, "aid", "AID", "Beach")
    for path in sorted(source.iterdir())[:40]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert check(images_in(tmp_path)).findings == ()
    first = sorted(tmp_path.iterdir())[0]
    Image.open(first).save(tmp_path / "copy.jpg", quality=60)
    (near,) = check(images_in(tmp_path)).findings
    assert (near.code, near.path) == ("near-duplicate", first.name)
    assert "copy.jpg" in near.message


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
