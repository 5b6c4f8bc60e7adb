"""Numbers and names of long tracks."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.cut_tracks import COUNT, CROP, table_of
from fixtures.videos import mot_lines, write_mot
from likeness_apps.person_reid.tracklets import ledger
from likeness_apps.person_reid.tracklets.run import tracklets


def test_a_long_track_goes_on_in_the_next_tracklet(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "LONGEST", 15)
    table = write_mot(tmp_path / "b.txt", mot_lines(COUNT, tracks=(7,)))
    done = tracklets(video, table, tmp_path / "out", camera=3)
    expected = [
        f"bbox_test/0001/0001C3T{n // 15 + 1:04d}F{n % 15 + 1:03d}.jpg" for n in range(COUNT)
    ]
    assert [row["path"] for row in table_of(done.out, "boxes.csv")] == expected
    (track,) = table_of(done.out, "tracks.csv")
    assert (track["label"], track["crops"], track["tracklets"]) == ("0001", str(COUNT), "3")


def test_the_longest_tracklet_has_three_digits() -> None:
    """Without pixels: names of 2,000 crops of one track."""
    book = ledger.Ledger(camera=1, first_id=5)
    names = []
    for _ in range(2000):
        label, tracklet, path = book.name(123456789)
        names.append(path)
        book.note(ledger.Row(path, "ok", "", 1, 0.0, 123456789, label, tracklet))
    assert names[998:1000] == [
        "bbox_test/0005/0005C1T0001F999.jpg",
        "bbox_test/0005/0005C1T0002F001.jpg",
    ]
    assert len(set(names)) == 2000
    assert all(CROP.match(name) for name in names)
