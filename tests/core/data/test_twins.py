"""Near duplicates: copies are found, scenes that are alike are told apart."""

import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fixtures.findings import codes, manifest_of
from fixtures.scenes import save
from likeness.data.checks import check
from likeness.data.listing import images_in
from likeness.data.twins import near_pairs

DATA = os.environ.get("LIKENESS_DATA")


def picture(seed, side=64):
    """A smooth, coloured scene, as recompression and rescaling presuppose."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


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
