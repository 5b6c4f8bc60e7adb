"""Strips: which frames, how they lie, and what happens to those that cannot be read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fixtures.people import picture
from likeness_apps.person_reid.strips import evenly, strip, strips_of, write_strip


@pytest.mark.parametrize("count", range(30))
@pytest.mark.parametrize("most", [1, 3, 4])
def test_places_are_the_middles_of_equal_parts(count, most):
    places = evenly(count, most)
    assert len(places) == min(most, count)
    if count <= most:
        assert places == list(range(count))
        return
    width = count / most
    for part, place in enumerate(places):
        middle = (part + 0.5) * width
        assert place <= middle <= place + 1
    assert places[-1] < count


def test_strips_are_evenly_spaced_and_outlive_a_lost_frame(tmp_path):
    rows = [{"path": f"{n}.png", "tracklet": "t", "frame": n} for n in range(7)]
    for n in range(7):
        picture(tmp_path / f"{n}.png", n)
    frames = pd.DataFrame(rows).sample(frac=1, random_state=0)
    whole = strips_of(frames, tmp_path, 4)("t")
    assert whole.shape == (112, 4 * 58 - 2, 3)
    only = pd.DataFrame([rows[place] for place in (0, 2, 4, 6)])
    np.testing.assert_array_equal(whole, strips_of(only, tmp_path, 4)("t"))
    (tmp_path / "0.png").write_bytes(b"")
    assert strips_of(frames, tmp_path, 4)("t").shape == (112, 3 * 58 - 2, 3)
    assert strips_of(frames, tmp_path, 4)("nobody") is None
    assert strip([]) is None
    assert strip([tmp_path / "0.png"]) is None


def test_frames_keep_their_aspect_on_a_grey_ground(tmp_path):
    Image.new("RGB", (40, 20), (250, 10, 10)).save(tmp_path / "wide.png")
    found = strip([tmp_path / "wide.png"])
    assert found.shape == (112, 56, 3)
    assert (found[56, 28] == (250, 10, 10)).all()
    assert (found[[0, 111]] == 128).all()
    write_strip(tmp_path / "s.jpg", found)
    with Image.open(tmp_path / "s.jpg") as written:
        assert (written.format, written.size, dict(written.getexif())) == ("JPEG", (56, 112), {})
