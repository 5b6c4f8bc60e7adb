"""Broken public sets through the command line: told in one line, with file and place."""

from __future__ import annotations

from pathlib import Path

from fixtures.front_door import assert_refused, likeness
from fixtures.layouts import UCM_IMAGES, write_coffee, write_eurosat_13, write_ucm_multilabel
from fixtures.scenes import texture, write_geotiff


def test_an_image_without_any_label_is_a_warning(tmp_path: Path) -> None:
    folder = write_ucm_multilabel(tmp_path, images=UCM_IMAGES | {"river00": ""})
    ended = likeness("inspect", folder)
    assert ended.code == 0, ended.out
    assert "warning: river/river00.tif: no label is set" in ended.out


def test_another_number_of_label_columns_is_refused(tmp_path: Path) -> None:
    folder = write_ucm_multilabel(tmp_path)
    table = folder / "LandUse_Multilabeled.txt"
    table.write_text(table.read_text().replace("\ttrees", ""))
    ended = likeness("inspect", folder)
    assert_refused(ended, "LandUse_Multilabeled.txt must be a table of a name and 17 labels")


def test_a_fold_that_names_a_missing_image_is_an_error_with_file_and_line(tmp_path: Path) -> None:
    folder = write_coffee(tmp_path)
    (folder / "fold2" / "area.2.tile.3.jpg").unlink()
    ended = likeness("inspect", folder)
    assert ended.code == 1
    said = "error: fold2.txt: line 4: there is no image fold2/area.2.tile.3.jpg"
    assert said in ended.out


def test_foreign_names_in_an_eurosat_class_are_named(tmp_path: Path) -> None:
    folder = write_eurosat_13(tmp_path)
    stack = texture(9, 9, side=64, bands=13, dtype="uint16")
    write_geotiff(folder / "SeaLake" / "Bombay_1.tif", stack)
    ended = likeness("inspect", folder)
    assert ended.code == 0, ended.out
    assert "warning: SeaLake/Bombay_1.tif: left out: no file name of the eurosat-13" in ended.out
