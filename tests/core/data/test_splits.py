from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.data.splits import (
    assert_no_leak,
    complete_splits,
    cross_fit,
    join_duplicates,
    split_by_group,
)
from likeness.errors import UserError


def scenes(classes=6, per_class=70, block=10):
    """As AID: blocks of neighbours inside each class."""
    rows = [
        (f"c{c}/{n}.jpg", f"c{c}", "", f"c{c}/block-{n // block}")
        for c in range(classes)
        for n in range(per_class)
    ]
    return pd.DataFrame(rows, columns=["path", "label", "split", "group"]).astype(str)


def patients(seed=0, people=200):
    """As lesion sets: a person has one to eight images, of several very unequal classes."""
    generator = np.random.default_rng(seed)
    rows = []
    for person in range(people):
        for image in range(generator.integers(1, 9)):
            label = generator.choice(["nv", "mel", "df"], p=[0.85, 0.12, 0.03])
            rows.append((f"p{person}-{image}", label, "", f"p{person}"))
    return pd.DataFrame(rows, columns=["path", "label", "split", "group"]).astype(str)


def places_of_groups(table, places):
    found = defaultdict(set)
    for group, place in zip(table["group"], places, strict=True):
        found[group].add(place)
    return found


@pytest.mark.parametrize("table", [scenes(), patients()], ids=["scenes", "patients"])
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_no_group_straddles_and_classes_keep_their_shares(table, seed):
    split = split_by_group(table, val=0.15, test=0.25, seed=seed)["split"]
    assert all(len(names) == 1 for names in places_of_groups(table, split).values())
    assert_no_leak(table.assign(split=split))
    largest = table["group"].value_counts().max()
    for label, size in Counter(table["label"]).items():
        for name, share in (("train", 0.6), ("val", 0.15), ("test", 0.25)):
            count = int(((table["label"] == label) & (split == name)).sum())
            # Whole groups: nobody can come closer than about one of them.
            assert abs(count - share * size) <= largest, (label, name, count)
    for name, share in (("train", 0.6), ("val", 0.15), ("test", 0.25)):
        assert abs((split == name).mean() - share) < 0.05


def test_rounding_does_not_push_every_class_the_same_way():
    """Seven blocks per class and a test share of 0.2: 1.4 blocks, so some classes get two."""
    split = split_by_group(scenes(classes=30), val=0.1, test=0.2, seed=0)["split"]
    assert 0.16 < (split == "test").mean() < 0.24
    assert 0.64 < (split == "train").mean() < 0.74


@pytest.mark.parametrize("seed", range(5))
def test_a_class_is_in_every_split_whose_share_is_worth_half_a_group(seed):
    """Seven blocks per class: a share of 0.1 is 0.7 of a block, so nobody goes without."""
    table = scenes(classes=9)
    split = split_by_group(table, val=0.1, test=0.1, seed=seed)["split"]
    for label in set(table["label"]):
        assert set(split[table["label"] == label]) == {"train", "val", "test"}
    rare = split_by_group(table, val=0.02, test=0.1, seed=seed)["split"]
    assert (rare == "val").mean() < 0.05  # but a share of 0.14 of a block is not rounded up


def test_single_images_meet_the_shares_to_within_one_image():
    table = scenes(classes=3, per_class=97, block=1)
    split = split_by_group(table, val=0.1, test=0.2, seed=3)["split"]
    for label in ("c0", "c1", "c2"):
        counts = Counter(split[table["label"] == label])
        assert abs(counts["val"] - 9.7) < 1
        assert abs(counts["test"] - 19.4) < 1


@settings(max_examples=25)
@given(order=st.randoms(use_true_random=False), seed=st.integers(0, 3))
def test_the_order_of_the_rows_does_not_matter(order, seed):
    table = patients(people=30)
    rows = list(range(len(table)))
    order.shuffle(rows)
    mixed = table.iloc[rows]
    one = split_by_group(table, val=0.2, test=0.2, seed=seed)
    two = split_by_group(mixed, val=0.2, test=0.2, seed=seed)
    assert two.index.tolist() == rows
    pd.testing.assert_frame_equal(two.sort_index(), one)
    folds = cross_fit(table, folds=5, seed=seed)
    assert cross_fit(mixed, folds=5, seed=seed).tolist() == folds[rows].tolist()


def test_seeds_differ_and_repeat():
    table = scenes()
    splits = [split_by_group(table, val=0.2, test=0.2, seed=s)["split"].tolist() for s in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_a_split_is_known_by_heart():
    """Saved splits must not change with a release: these were read off once."""
    table = scenes(classes=2, per_class=10, block=2)
    split = split_by_group(table, val=0.2, test=0.2, seed=0)["split"]
    by_group = dict(zip(table["group"], split, strict=True))
    others = {group: name for group, name in by_group.items() if name != "train"}
    assert others == {
        "c0/block-3": "test",
        "c0/block-4": "val",
        "c1/block-1": "val",
        "c1/block-4": "test",
    }


def test_unlabelled_rows_get_no_split():
    table = scenes(classes=2, per_class=20)
    table.loc[[0, 25], "label"] = ""
    split = split_by_group(table, val=0.2, test=0.2, seed=0)["split"]
    assert (split[table["label"] == ""] == "").all()
    assert (split[table["label"] != ""] != "").all()


def test_groups_none_splits_images():
    table = scenes(classes=2, per_class=50, block=50)  # one group per class
    split = split_by_group(table, val=0.2, test=0.2, seed=0, groups="none")["split"]
    assert Counter(split) == {"train": 60, "val": 20, "test": 20}


def test_zero_shares_make_no_split():
    table = scenes(classes=2, per_class=50)
    assert set(split_by_group(table, val=0.0, test=0.2, seed=0)["split"]) == {"train", "test"}
    assert set(split_by_group(table, val=0.0, test=0.0, seed=0)["split"]) == {"train"}


@pytest.mark.plain
@pytest.mark.parametrize(
    ("shares", "sentence"),
    [
        ({"val": -0.1, "test": 0.1}, r"val must be in \[0, 1\), got -0.1"),
        ({"val": float("nan"), "test": 0.1}, r"val must be in \[0, 1\), got nan"),
        ({"val": 0.1, "test": 1.0}, r"test must be in \[0, 1\), got 1.0"),
        ({"val": 0.5, "test": 0.5}, r"val \+ test must be < 1, got 1.0"),
    ],
)
def test_shares_out_of_range(shares, sentence):
    with pytest.raises(UserError, match=sentence):
        split_by_group(scenes(), **shares, seed=0)


@pytest.mark.plain
def test_too_few_groups_and_bad_options():
    table = scenes(classes=1, per_class=20)  # two groups
    with pytest.raises(UserError, match=r"groups must be enough for a .* split of .*, got 2"):
        split_by_group(table, val=0.2, test=0.2, seed=0)
    with pytest.raises(UserError, match="seed must be >= 0, got -1"):
        split_by_group(table, val=0.2, test=0.2, seed=-1)


@pytest.mark.parametrize("table", [scenes(), patients()], ids=["scenes", "patients"])
def test_cross_fit_keeps_groups_whole_and_classes_balanced(table):
    folds = cross_fit(table, folds=5, seed=0)
    assert set(folds.tolist()) == {0, 1, 2, 3, 4}
    assert all(len(places) == 1 for places in places_of_groups(table, folds).values())
    largest = table["group"].value_counts().max()
    for label, size in Counter(table["label"]).items():
        counts = np.bincount(folds[table["label"] == label], minlength=5)
        assert np.abs(counts - size / 5).max() <= largest
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= largest


def test_cross_fit_without_groups_is_exact():
    table = scenes(classes=3, per_class=50, block=50)
    folds = cross_fit(table, folds=5, seed=0, groups="none")
    for label in ("c0", "c1", "c2"):
        assert np.bincount(folds[table["label"] == label]).tolist() == [10] * 5


@pytest.mark.plain
@pytest.mark.parametrize("folds", [0, 1, 8])
def test_cross_fit_out_of_range(folds):
    table = scenes(classes=1)
    with pytest.raises(UserError, match="folds must be from 2 to the number of groups, 7, got"):
        cross_fit(table, folds=folds, seed=0)


def test_cross_fit_never_leaves_a_fold_empty_in_silence():
    rows = [(f"a{n}", "x", "", "a") for n in range(100)] + [
        ("b", "x", "", "b"),
        ("c", "y", "", "c"),
    ]
    table = pd.DataFrame(rows, columns=["path", "label", "split", "group"]).astype(str)
    assert set(cross_fit(table, folds=3, seed=0).tolist()) == {0, 1, 2}


def test_complete_splits_keeps_what_is_given():
    table = scenes(classes=2, per_class=100)
    table["split"] = ["test" if n % 100 >= 80 else "train" for n in range(200)]
    table.loc[0, "split"] = ""
    done = complete_splits(table, val=0.25, test=0.2, seed=0)["split"]
    assert (done[table["split"] == "test"] == "test").all()
    assert (done == "test").sum() == 40
    assert done[0] == ""
    assert abs((done == "val").sum() - 40) <= 10
    again = complete_splits(table.assign(split=done), val=0.25, test=0.2, seed=9)["split"]
    assert again.tolist() == done.tolist()


def test_complete_splits_makes_all_where_there_are_none():
    table = scenes(classes=2, per_class=100)
    one = complete_splits(table, val=0.2, test=0.2, seed=0)
    pd.testing.assert_frame_equal(one, split_by_group(table, val=0.2, test=0.2, seed=0))


@pytest.mark.plain
def test_complete_splits_needs_train_rows():
    table = scenes(classes=2).assign(split="test")
    with pytest.raises(UserError, match="split must be train for some rows, got 'test'"):
        complete_splits(table, val=0.1, test=0.1, seed=0)


def test_duplicates_join_groups_and_their_groups():
    table = pd.DataFrame(
        {
            "path": list("abcdef"),
            "label": ["x"] * 6,
            "split": [""] * 6,
            "group": ["g3", "g1", "g1", "g2", "g4", "g5"],
            "pixels": ["p", "p", "q", "r", "", ""],
            "twin": ["", "", "t", "t", "", ""],
        }
    ).astype(str)
    joined = join_duplicates(table)
    assert joined["group"].tolist() == ["g1", "g1", "g1", "g1", "g4", "g5"]
    assert table["group"].tolist()[0] == "g3"  # a copy
    plain = table.drop(columns=["pixels", "twin"])
    pd.testing.assert_frame_equal(join_duplicates(plain), plain)


@pytest.mark.plain
@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ("group", "group 'same' must be in one split, got train and test"),
        ("sha256", "image '0' must be in one split, got train and test"),
        ("pixels", "image '0' must be in one split, got train and test"),
    ],
)
def test_a_leak_is_caught(column, sentence):
    table = pd.DataFrame(
        {
            "path": list("012"),
            "label": ["x"] * 3,
            "split": ["train", "test", ""],
            "group": list("abc"),
        }
    ).astype(str)
    assert_no_leak(table)
    with pytest.raises(UserError, match=sentence):
        assert_no_leak(table.assign(**{column: ["same", "same", ""]}))
    assert_no_leak(table.assign(**{column: ["same", "other", "same"]}))  # "" is no split
