"""The picture of faces over time: what is in its bins, its words, its strips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from likeness.errors import UserError
from likeness_apps.facial_expression.video.timeline import (
    BINS,
    STRIPS,
    Tables,
    read_timeline,
    tables_of,
    timeline_figure,
    write_timeline,
)

CLASSES = ("neutral", "happiness")
Row = tuple[float, int | None, float | None]  # time, face, probability of happiness


def parts(rows: list[Row], size: int = 7) -> Tables:
    """The rows as tables of `size`."""
    schema = pa.schema(
        [
            *(("time_s", pa.float64()), ("face", pa.int32()), ("status", pa.string())),
            *(("p_neutral", pa.float32()), ("p_happiness", pa.float32())),
        ]
    )

    def read() -> Iterator[pa.Table]:
        for start in range(0, len(rows), size):
            times, faces, shares = zip(*rows[start : start + size], strict=True)
            status = ["ok" if share is not None else "no_face" for share in shares]
            rest = [None if share is None else 1 - share for share in shares]
            columns: list[Any] = [times, faces, status, rest, shares]
            yield pa.table(
                [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
            )

    return read


def test_bins_are_means_over_their_rows() -> None:
    """Against a loop over all rows."""
    generator = np.random.default_rng(0)
    rows: list[Row] = [
        (float(time), int(face), float(share))
        for time, face, share in zip(
            np.sort(generator.uniform(10, 100, 3000)),
            generator.integers(1, 4, 3000),
            generator.uniform(size=3000),
            strict=True,
        )
    ]
    timeline = read_timeline(parts(rows, 256), CLASSES)
    assert timeline.start_s == rows[0][0]
    assert timeline.mean_KTC.shape == (3, BINS, 2)
    collected: dict[tuple[int, int], list[float]] = {}
    for time, face, share in rows:
        assert face is not None
        assert share is not None
        place = round((time - timeline.start_s) / timeline.bin_s)
        collected.setdefault((timeline.faces.index(face), place), []).append(share)
    for strip in range(3):
        for place in range(BINS):
            found = timeline.mean_KTC[strip, place]
            values = collected.get((strip, place))
            if values is None:
                assert np.isnan(found).all()
            else:
                assert found == pytest.approx([1 - np.mean(values), np.mean(values)], abs=1e-6)


def test_the_faces_in_most_frames_are_shown_the_first_seen_first() -> None:
    rows: list[Row] = []
    for face in range(1, STRIPS + 4):
        rows += [(face + 0.01 * index, face, 0.5) for index in range(2 if face <= 3 else 10)]
    timeline = read_timeline(parts(rows), CLASSES)
    assert timeline.faces == list(range(4, STRIPS + 4))
    assert timeline.others == 3
    words = words_of(timeline_figure(timeline, CLASSES))
    assert "12 faces in most frames, 3 more are not" in words


def words_of(figure: Any) -> str:
    """All that is written in a figure."""
    figure.canvas.draw()
    texts = [figure.get_suptitle(), *(text.get_text() for text in figure.texts)]
    for legend in figure.legends:
        texts += [text.get_text() for text in legend.get_texts()]
    for axis in figure.axes:
        texts += [axis.get_xlabel(), axis.get_ylabel(), *(text.get_text() for text in axis.texts)]
        texts += [label.get_text() for label in axis.get_xticklabels()]
    return "\n".join(texts)


def test_the_words_claim_no_feeling() -> None:
    rows: list[Row] = [(0.1 * index, 1 + index % 2, 0.3) for index in range(40)]
    words = words_of(timeline_figure(read_timeline(parts(rows), CLASSES), CLASSES))
    assert "Displayed expression over time, as judged by annotators" in words
    assert "not what is felt" in words
    assert "emotion" not in words.lower()
    for name in (*CLASSES, "face 1", "face 2"):
        assert name in words


def test_no_row_or_no_face() -> None:
    for rows in ([], [(0.0, None, None), (1.0, None, None)]):
        timeline = read_timeline(parts(rows), CLASSES)
        assert timeline.faces == []
        assert "no face was found" in words_of(timeline_figure(timeline, CLASSES))


@pytest.mark.parametrize("frames", [2, 3, 10, 250, 599, 1300])
def test_a_face_that_is_always_there_has_no_gap(frames: int) -> None:
    rows: list[Row] = [(0.04 * index, 1, 0.5) for index in range(frames)]
    timeline = read_timeline(parts(rows, 100), CLASSES)
    assert not np.isnan(timeline.mean_KTC).any()
    assert timeline.mean_KTC.shape[1] <= BINS
    assert timeline.bin_s * (timeline.mean_KTC.shape[1] - 1) == pytest.approx(rows[-1][0])


def test_one_moment_and_times_that_go_back() -> None:
    one = read_timeline(parts([(5.0, 1, 0.25)]), CLASSES)
    assert one.mean_KTC[0, 0] == pytest.approx([0.75, 0.25])
    joined: list[Row] = [(3.0, 1, 0.5), (4.0, 1, 0.5), (0.0, 2, 0.5), (1.0, 2, 0.5)]
    timeline = read_timeline(parts(joined), CLASSES)
    assert (timeline.start_s, timeline.faces) == (0.0, [2, 1])


def test_hours_are_hours(tmp_path: Path) -> None:
    rows: list[Row] = [(60.0 * index, 1, 0.5) for index in range(100)]
    words = words_of(timeline_figure(read_timeline(parts(rows), CLASSES), CLASSES))
    assert "1:23:20" in words  # 5000 s
    assert "16:40" in words  # 1000 s


def test_the_picture_of_a_finished_table(tmp_path: Path) -> None:
    rows: list[Row] = [(0.1 * index, 1, 0.3) for index in range(300)]
    pq.write_table(pa.concat_tables(parts(rows)()), tmp_path / "rows.parquet")
    write_timeline(tmp_path / "plot.png", tables_of(tmp_path / "rows.parquet"), CLASSES)
    with Image.open(tmp_path / "plot.png") as image:
        assert image.format == "PNG"
        assert image.width > 900
    with pytest.raises(UserError, match=r"plot must be a \.png file"):
        write_timeline(tmp_path / "plot.pdf", parts(rows), CLASSES)
