"""Every file is read once: its hash and its picture come from the same bytes."""

import hashlib
from collections import Counter
from contextlib import closing

import numpy as np
import pytest

from fixtures.stand_in_model import StandIn, write_files
from likeness.inference import hashed
from likeness.inference.blocks import Failure, answer_paths
from likeness.inference.hashed import answer_hashed, read_hashed


@pytest.fixture
def opened(monkeypatch):
    """How often each file was read."""
    times = Counter()
    read = hashed.read_bytes

    def counting(path):
        times[path] += 1
        return read(path)

    monkeypatch.setattr(hashed, "read_bytes", counting)
    return times


def test_one_read_gives_the_hash_and_the_image(tmp_path, opened):
    names = write_files(tmp_path, 30, bad={7})
    reads = list(read_hashed(StandIn(), names, tmp_path))
    assert [read.row for read in reads] == list(range(30))
    for name, read in zip(names, reads, strict=True):
        assert read.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert set(opened.values()) == {1}
    assert len(opened) == 30
    model = StandIn(batch_size=30)
    (once,) = answer_hashed(model, names, tmp_path).blocks
    (again,) = answer_paths(model, names, tmp_path)
    np.testing.assert_array_equal(once.embeddings_BD, again.embeddings_BD)
    assert once.ok_B.tolist() == again.ok_B.tolist() == ["0007" not in name for name in names]


def test_only_what_is_wanted_is_prepared(tmp_path, opened):
    names = write_files(tmp_path, 20, bad={3})
    hashes = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names]
    asked = []

    def wanted(row, sha256):
        asked.append((row, sha256))
        return row % 3 == 0

    reads = list(read_hashed(StandIn(), names, tmp_path, wanted=wanted))
    assert sorted(asked) == list(enumerate(hashes))
    assert [read.prepared is not None for read in reads] == [row % 3 == 0 for row in range(20)]
    assert [read.sha256 for read in reads] == hashes
    assert set(opened.values()) == {1}


def test_what_cannot_be_read_is_a_failure_without_a_hash(tmp_path):
    names = ["gone.png", *write_files(tmp_path, 2), ""]
    never = read_hashed(StandIn(), names, tmp_path, wanted=lambda row, sha256: False)
    first, _, third, last = never
    assert (first.sha256, first.prepared) == ("", Failure("no such file"))
    assert (third.row, third.prepared) == (2, None)
    assert (last.sha256, last.prepared) == ("", Failure("no path"))


def test_reading_stays_a_batch_ahead(tmp_path, opened):
    names = write_files(tmp_path, 60)
    model = StandIn(batch_size=4)
    with closing(read_hashed(model, names, tmp_path)) as reads:
        for _ in range(5):
            next(reads)
    assert len(opened) <= 5 + model.batch_size + model.threads


def test_answers_to_the_wanted_rows_alone(tmp_path, opened):
    names = [*write_files(tmp_path, 20, bad={3}), "gone.png"]
    progress = []
    found = answer_hashed(
        StandIn(),
        names,
        tmp_path,
        wanted=lambda row, sha256: row in (2, 9, 11, 12, 13),
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert found.rows_A.tolist() == [2, 9, 11, 12, 13, 20]  # what cannot be read is a row, too
    assert [len(block.ok_B) for block in found.blocks] == [4, 2]
    assert [ok for block in found.blocks for ok in block.ok_B] == [
        True,
        True,
        False,
        True,
        True,
        False,
    ]
    assert len(found.sha256) == 21
    assert [name for name, sha256 in zip(names, found.sha256, strict=True) if not sha256] == [
        "gone.png"
    ]
    assert progress == [(done, 21) for done in range(1, 22)]
    assert set(opened.values()) == {1}


def test_marked_rows_of_a_block(tmp_path):
    names = write_files(tmp_path, 5, bad={2})
    (block,) = answer_paths(StandIn(batch_size=5), names, tmp_path)
    kept = np.array([True, True, False, True, False])
    part = block.marked(kept)
    np.testing.assert_array_equal(part.embeddings_BD, block.embeddings_BD[[0, 1, 3]])
    np.testing.assert_array_equal(part.probabilities_BC, block.probabilities_BC[[0, 1, 3]])
    assert part.reasons == [block.reasons[row] for row in (0, 1, 3)]
    assert part.labels == [block.labels[row] for row in (0, 1, 3)]
    assert part.ok_B.tolist() == block.ok_B[[0, 1, 3]].tolist()
