"""From a folder to rows that a run can use."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fixtures.scenes import (
    save,
    texture,
    write_aid,
    write_folders,
    write_geotiff,
    write_table,
    write_ucmerced,
)
from likeness.errors import UserError
from likeness.training.spec import DataSpec
from likeness_apps.remote_sensing.domain import DOMAIN
from likeness_apps.shell.data import prepare


def prepared(path, seed=0, **spec):
    return prepare(DOMAIN, path, DataSpec(**spec), seed=seed, quiet=True)


def shares(found):
    counts = found.splits["split"].value_counts(normalize=True)
    return {name: counts.get(name, 0.0) for name in ("train", "val", "test")}


@pytest.mark.parametrize(
    ("protocol", "training"), [("ucm-80", 0.8), ("aid-20", 0.2), ("aid-50", 0.5)]
)
def test_protocols_have_their_shares(tmp_path, protocol, training):
    write = write_ucmerced if protocol.startswith("ucm") else write_aid
    data = write(tmp_path, per_class=40, side=16)
    found = prepared(data, protocol=protocol, val=0.25)
    assert shares(found) == pytest.approx(
        {"train": 0.75 * training, "val": 0.25 * training, "test": 1 - training}
    )
    classes = found.splits.groupby(["label", "split"]).size().unstack()
    assert (classes["test"] == round(40 * (1 - training))).all()  # stratified, and exactly so
    other = prepared(data, seed=1, protocol=protocol, val=0.25)
    assert (found.splits["split"] != other.splits["split"]).any()
    assert found.data_hash != other.data_hash
    again = prepared(data, protocol=protocol, val=0.25)
    pd.testing.assert_frame_equal(found.splits, again.splits)
    assert found.data_hash == again.data_hash


def test_protocols_take_no_account_of_the_data_sets_own_splits(tmp_path):
    data = write_ucmerced(tmp_path, per_class=10, side=16)
    (data / "train.txt").write_text("beach00.tif\nbeach01.tif\n")
    found = prepared(data, protocol="ucm-80", val=0.25)
    assert found.splits["split"].value_counts()["test"] == 6


def test_groups_never_straddle_unless_told(tmp_path):
    data = write_aid(tmp_path, per_class=60, side=16)  # blocks of ten are groups
    whole = prepared(data, test=0.3, val=0.2).splits
    assert (whole.groupby("group")["split"].nunique() == 1).all()
    assert set(whole["split"]) == {"train", "val", "test"}
    loose = prepared(data, test=0.3, val=0.2, groups="none").splits
    assert (loose.groupby("group")["split"].nunique() > 1).any()


def test_copies_of_a_picture_share_a_split(tmp_path):
    data = write_folders(tmp_path, per_class=12)
    for number in range(6):
        shutil.copy(data / "lake" / f"{number}.png", data / "lake" / f"copy-{number}.png")
    for seed in range(3):
        splits = prepared(data, seed=seed, test=0.3, val=0.2).splits
        assert splits.groupby("sha256")["split"].nunique().max() == 1
        assert splits["sha256"].duplicated().sum() == 6


def test_splits_of_a_table_are_kept(tmp_path):
    table = write_table(tmp_path, per_class=12, splits=("train", "train", "val", "test"))
    found = prepared(table)
    given = pd.read_csv(table).set_index("path")
    for row in found.splits.itertuples():
        assert row.split == given.loc[row.path, "split"]


def test_rows_without_label_or_split_are_not_used(tmp_path):
    table = write_table(tmp_path, per_class=12, splits=("train", "train", "val", "test"))
    frame = pd.read_csv(table)
    frame.loc[0, "split"] = ""
    frame.to_csv(table, index=False)
    found = prepared(table)
    assert len(found.splits) == 23
    assert frame.loc[0, "path"] not in set(found.splits["path"])


def test_leaking_groups_of_a_table_are_refused(tmp_path):
    table = write_table(tmp_path, per_class=12, splits=("train", "train", "val", "test"))
    frame = pd.read_csv(table).assign(group="one mosaic")
    frame.to_csv(table, index=False)
    with pytest.raises(UserError, match="group 'one mosaic' must be in one split"):
        prepared(table)
    assert len(prepared(table, groups="none").splits) == 24


def test_bad_files_are_left_out_of_everything(tmp_path, capsys):
    data = write_folders(tmp_path, per_class=20)
    (data / "lake" / "3.png").write_bytes(b"")
    found = prepare(DOMAIN, data, DataSpec(), seed=0)
    assert found.dropped == ["lake/3.png: the file is empty"]
    assert capsys.readouterr().out == "left out: lake/3.png: the file is empty\n"
    assert "lake/3.png" not in set(found.manifest.table["path"])
    assert len(found.checked.table) == 40
    assert len(found.splits) == 39


def test_names_that_no_table_can_hold_are_left_out(tmp_path):
    data = write_folders(tmp_path, per_class=10)
    odd = os.fsencode(data / "lake") + b"/caf\xe9.png"
    try:
        os.rename(data / "lake" / "0.png", odd)
        os.mkdir(os.fsencode(data) + b"/\xff")
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    found = prepared(data)
    assert len(found.splits) == 19
    told = {finding.path: finding for finding in found.checked.findings}
    assert set(told) == {"lake/caf\\udce9.png", "\\udcff/"}
    for finding in told.values():
        assert finding.message == "left out: its name is not UTF-8"
        assert finding.advice == "rename it"


def test_numbers_follow_the_sorted_classes(tmp_path):
    found = prepared(write_folders(tmp_path, classes=("town", "lake", "Area 51"), per_class=10))
    assert found.manifest.classes == ["Area 51", "lake", "town"]
    for split in ("train", "val", "test"):
        numbers, labels = found.targets(split), found.manifest.rows(split)["label"]
        assert numbers.dtype == np.int64
        assert [found.manifest.classes[number] for number in numbers] == labels.tolist()


def test_bands_and_type_are_those_of_most_images(tmp_path):
    for kind, name in enumerate(("lake", "town")):
        for number in range(10):
            image = texture(kind, number, bands=4, dtype="uint16")
            write_geotiff(tmp_path / "deep" / name / f"{number}.tif", image)
    found = prepared(tmp_path / "deep")
    assert (found.bands, found.dtype) == (4, "uint16")
    for number in range(3):  # one grey picture among colour is fine
        save(tmp_path / "scenes" / "lake" / f"grey-{number}.png", texture(0, number, bands=1))
    found = prepared(write_folders(tmp_path, per_class=10))
    assert (found.bands, found.dtype) == (3, "uint8")
    assert len(found.splits) == 23


def test_the_hash_sees_every_change(tmp_path):
    table = write_table(tmp_path, per_class=12, splits=("train", "train", "val", "test"))
    first = prepared(table).data_hash
    assert prepared(table).data_hash == first
    frame = pd.read_csv(table)
    image = Path(tmp_path) / frame["path"].iloc[0]
    before = image.read_bytes()
    save(image, texture(5, 5))
    assert prepared(table).data_hash != first
    image.write_bytes(before)
    frame.assign(group=range(24)).to_csv(table, index=False)
    assert prepared(table).data_hash != first


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"protocol": "ucm-81"}, "data.protocol must be one of ucm-80, aid-20, aid-50"),
        ({"protocol": "aid-20"}, "must be in the layout aid, got 'uc-merced'"),
        ({"val": 0.0}, "data.val must be large enough for one image, got 0"),
    ],
)
def test_specs_that_do_not_fit(tmp_path, spec, sentence):
    data = write_ucmerced(tmp_path, per_class=10, side=16)
    with pytest.raises(UserError, match=sentence):
        prepared(data, **spec)


def test_two_training_images_of_every_class(tmp_path):
    data = write_folders(tmp_path, per_class=10)
    for number in range(3):
        save(data / "rare" / f"{number}.png", texture(3, number))
    with pytest.raises(UserError, match="class 'rare' must be in at least two training images"):
        prepared(data, test=0.5, val=0.2)
