"""What is found in single files: unreadable, of other bands or types, without data or a place."""

import numpy as np

from fixtures.findings import codes, found, manifest_of
from fixtures.scenes import save, texture, write_geotiff
from likeness.data.checks import check
from likeness.data.listing import images_in


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
