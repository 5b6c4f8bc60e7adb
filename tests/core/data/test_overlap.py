"""Images of one set inside another."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from fixtures.scenes import save, texture
from likeness.data.listing import images_in
from likeness.data.manifest import Manifest
from likeness.data.overlap import Overlap, overlap_with


def folder(root: Path, name: str, seeds: range) -> Manifest:
    for seed in seeds:
        save(root / name / f"{seed}.png", texture(seed % 5, seed, side=64))
    return images_in(root / name)


def test_the_same_and_nearly_the_same_pictures_are_found(tmp_path: Path) -> None:
    folder(tmp_path, "a", range(8))
    folder(tmp_path, "b", range(20, 26))
    image = np.asarray(Image.open(tmp_path / "a" / "2.png"))
    save(tmp_path / "b" / "copy.bmp", image)  # another encoding, the same pixels
    third = np.asarray(Image.open(tmp_path / "a" / "3.png").resize((128, 128)))
    save(tmp_path / "b" / "large.jpg", third)
    shutil.copy(tmp_path / "b" / "20.png", tmp_path / "b" / "again.png")  # within b only
    (tmp_path / "b" / "broken.png").write_bytes(b"x")
    (tmp_path / "a" / "broken.png").write_bytes(b"x")
    done = []
    found = overlap_with(
        images_in(tmp_path / "a"),
        {"other": images_in(tmp_path / "b"), "third": folder(tmp_path, "c", range(2, 3))},
        on_progress=lambda now, total: done.append((now, total)),
    )
    assert found == [
        Overlap("2.png", "other", "copy.bmp", "same"),
        Overlap("2.png", "third", "2.png", "same"),
        Overlap("3.png", "other", "large.jpg", "near"),
    ]
    assert done[-1] == (20, 20)  # 9, 10 and 1 files, each once
    assert "same picture as copy.bmp of other" in found[0].finding().message
    assert found[2].finding().code == "in-another-set"


def test_sets_without_common_pictures(tmp_path: Path) -> None:
    one, other = folder(tmp_path, "a", range(5)), folder(tmp_path, "b", range(30, 35))
    assert overlap_with(one, {"b": other}) == []
    assert overlap_with(one, {}) == []
