"""Tables of predictions and embeddings: order, completeness, failures, metadata, refusals."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.stand_in_model import StandIn, write_files
from likeness.errors import UserError
from likeness.inference import shards


def expected_vector(path: Path, dim=4):
    """The stand-in's embedding, worked out again one image at a time."""
    import hashlib

    raw = [byte + 1.0 for byte in hashlib.sha256(path.read_bytes()).digest()[:dim]]
    length = sum(value * value for value in raw) ** 0.5
    return [value / length for value in raw]


def read_csv(path):
    return pd.read_csv(path, keep_default_na=False, dtype=str)


def test_a_row_per_image_in_path_order(tmp_path):
    names = write_files(tmp_path / "in", 23)
    written = shards.predict(StandIn(), tmp_path / "in", tmp_path / "out.csv", part_rows=6)
    table = read_csv(tmp_path / "out.csv")
    assert list(table.columns) == [
        *("path", "status", "reason", "label"),
        *("p_oak", "p_pine", "model_id"),
    ]
    assert table["path"].tolist() == names
    assert set(table["status"]) == {"ok"}
    assert set(table["model_id"]) == {"m0"}
    assert (written.rows, written.ok, written.errors, written.exit_code) == (23, 23, 0, 0)
    for row in table.to_dict("records"):
        vector = expected_vector(tmp_path / "in" / row["path"])
        p_oak = np.exp(vector[0]) / (np.exp(vector[0]) + np.exp(vector[1]))
        assert float(row["p_oak"]) == pytest.approx(p_oak, abs=1e-6)
        assert row["label"] == ("oak" if p_oak >= 0.5 else "pine")


def test_parquet_and_csv_hold_the_same_float32_numbers(tmp_path):
    write_files(tmp_path / "in", 9, bad={4})
    shards.predict(StandIn(), tmp_path / "in", tmp_path / "out.csv")
    shards.predict(StandIn(), tmp_path / "in", tmp_path / "out.parquet")
    text, typed = read_csv(tmp_path / "out.csv"), pq.read_table(tmp_path / "out.parquet")
    assert typed.schema.field("p_oak").type == pa.float32()
    numbers = [np.float32(cell) if cell else None for cell in text["p_oak"]]
    assert numbers == typed["p_oak"].to_pylist()
    assert text["path"].tolist() == typed["path"].to_pylist()
    assert typed["p_oak"].null_count == 1


@pytest.mark.parametrize("bad", [{0}, {8}, {3, 4, 5, 6, 7}, set(range(9))])
def test_bad_files_are_rows(tmp_path, bad):
    write_files(tmp_path / "in", 9, bad=bad)
    written = shards.predict(StandIn(), tmp_path / "in", tmp_path / "out.csv", part_rows=5)
    table = read_csv(tmp_path / "out.csv").set_index("path")
    assert (written.ok, written.errors) == (9 - len(bad), len(bad))
    assert written.exit_code == (1 if len(bad) == 9 else 0)
    for index in range(9):
        row = table.loc[f"{'ab'[index % 2]}/{index:04d}.png"]
        assert row["status"] == ("error" if index in bad else "ok")
        if index in bad:
            assert "truncated" in row["reason"]
            assert str(tmp_path) not in row["reason"]
            assert row["label"] == row["p_oak"] == row["p_pine"] == ""
        else:
            assert row["reason"] == ""
            assert row["p_oak"]


def test_a_bad_file_does_not_change_the_others(tmp_path):
    write_files(tmp_path / "good", 12)
    write_files(tmp_path / "mixed", 12, bad={5})
    shards.embed(StandIn(), tmp_path / "good", tmp_path / "good.npy")
    shards.embed(StandIn(), tmp_path / "mixed", tmp_path / "mixed.npy")
    good, mixed = np.load(tmp_path / "good.npy"), np.load(tmp_path / "mixed.npy")
    row = sorted(f"{'ab'[i % 2]}/{i:04d}.png" for i in range(12)).index("b/0005.png")
    assert np.isnan(mixed[row]).all()
    np.testing.assert_array_equal(np.delete(good, row, 0), np.delete(mixed, row, 0))


def test_embeddings_in_parquet(tmp_path):
    names = write_files(tmp_path / "in", 11, bad={2})
    shards.embed(StandIn(), tmp_path / "in", tmp_path / "e.parquet", part_rows=4)
    table = pq.read_table(tmp_path / "e.parquet")
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 4)
    assert table["path"].to_pylist() == names
    for row in table.to_pylist():
        if row["path"] == "a/0002.png":
            assert row["status"] == "error"
            assert row["embedding"] is None
        else:
            wanted = expected_vector(tmp_path / "in" / row["path"])
            np.testing.assert_allclose(row["embedding"], wanted, atol=1e-6)


def test_embeddings_in_npy_with_rows(tmp_path):
    write_files(tmp_path / "in", 11, bad={2})
    written = shards.embed(StandIn(), tmp_path / "in", tmp_path / "e.npy", part_rows=4)
    shards.embed(StandIn(), tmp_path / "in", tmp_path / "f.parquet", part_rows=3)
    array = np.load(tmp_path / "e.npy", allow_pickle=False)
    rows = pq.read_table(tmp_path / "e.parquet")
    assert array.dtype == np.float32
    assert array.shape == (11, 4)
    assert "embedding" not in rows.column_names
    assert written.out == (tmp_path / "e.npy", tmp_path / "e.parquet")
    other = pq.read_table(tmp_path / "f.parquet")
    assert rows["path"].to_pylist() == other["path"].to_pylist()
    for vector, wanted in zip(array, other["embedding"].to_pylist(), strict=True):
        np.testing.assert_array_equal(vector, np.nan if wanted is None else np.float32(wanted))
    assert rows.schema.metadata[b"embeddings"] == b"e.npy"


def test_what_must_travel_is_in_the_metadata(tmp_path):
    write_files(tmp_path / "in", 3)
    shards.predict(StandIn(), tmp_path / "in", tmp_path / "p.parquet")
    shards.predict(StandIn(), tmp_path / "in", tmp_path / "p.csv")
    shards.embed(StandIn(), tmp_path / "in", tmp_path / "e.parquet")
    predicted = pq.read_schema(tmp_path / "p.parquet").metadata
    embedded = pq.read_schema(tmp_path / "e.parquet").metadata
    assert json.loads(predicted[b"classes"]) == ["oak", "pine"]
    for facts in (predicted, embedded):
        assert facts[b"data_licence"] == b"research only"
        assert facts[b"model_id"] == b"m0"
        assert facts[b"space"] == b"cosine"
    assert (embedded[b"dim"], embedded[b"dtype"]) == (b"4", b"float32")
    beside = json.loads((tmp_path / "p.csv.meta.json").read_text())
    assert beside["data_licence"] == "research only"


def test_same_names_in_different_folders_stay_apart(tmp_path):
    for folder in ("x", "y", "x/y"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        (tmp_path / "in" / folder / "same.jpg").write_text(folder)
    shards.embed(StandIn(), tmp_path / "in", tmp_path / "e.npy")
    paths = pq.read_table(tmp_path / "e.parquet")["path"].to_pylist()
    assert paths == ["x/same.jpg", "x/y/same.jpg", "y/same.jpg"]
    for path, vector in zip(paths, np.load(tmp_path / "e.npy"), strict=True):
        np.testing.assert_allclose(vector, expected_vector(tmp_path / "in" / path), atol=1e-6)


def test_odd_names_survive(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    names = ["été.png", "森 林.jpg", 'say "a, b".png', "line\nbreak.png", "icon\r.png", "=1+1.png"]
    for name in names:
        (folder / name).write_text(name)
    raw = b"latin-\xe9.png"
    (Path(str(folder)) / raw.decode("utf-8", "surrogateescape")).write_text("raw")
    shards.predict(StandIn(), folder, tmp_path / "p.csv")
    shards.predict(StandIn(), folder, tmp_path / "p.parquet")
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["path"] for row in rows} == {*names, "latin-\\udce9.png"}
    assert all(row["status"] == "ok" for row in rows)
    assert [row["path"] for row in rows] == pq.read_table(tmp_path / "p.parquet")[
        "path"
    ].to_pylist()


def test_class_names_with_commas_make_one_column(tmp_path):
    write_files(tmp_path / "in", 2)
    model = StandIn(classes=("a, b", 'c "d"'))
    shards.predict(model, tmp_path / "in", tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert set(rows[0]) >= {"p_a, b", 'p_c "d"'}
    assert rows[0]["label"] in model.classes


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_blocks_one_after_the_other_are_the_whole(tmp_path, count):
    names = write_files(tmp_path / "in", 7, bad={3})
    shards.predict(StandIn(), tmp_path / "in", tmp_path / "all.csv")
    tables = []
    for index in range(1, count + 1):
        out = tmp_path / f"block-{index}.csv"
        written = shards.predict(StandIn(), tmp_path / "in", out, shard=(index, count), part_rows=2)
        tables.append(read_csv(out))
        assert abs(written.rows - 7 / count) < 1
        assert written.exit_code == (0 if written.ok or not written.rows else 1)
    pd.testing.assert_frame_equal(
        pd.concat(tables, ignore_index=True), read_csv(tmp_path / "all.csv")
    )
    assert pd.concat(tables)["path"].tolist() == names


def test_an_empty_block_writes_an_empty_table(tmp_path):
    write_files(tmp_path / "in", 1)
    written = shards.embed(StandIn(), tmp_path / "in", tmp_path / "e.npy", shard=(1, 3))
    assert np.load(tmp_path / "e.npy").shape == (0, 4)
    assert pq.read_table(tmp_path / "e.parquet").num_rows == 0
    assert (written.rows, written.exit_code) == (0, 0)
    empty = shards.predict(StandIn(), tmp_path / "in", tmp_path / "e.csv", shard=(1, 3))
    assert (empty.rows, len(read_csv(tmp_path / "e.csv"))) == (0, 0)


@settings(max_examples=15)
@given(
    count=st.integers(1, 14),
    part_rows=st.integers(1, 16),
    batch_size=st.integers(1, 6),
    bad=st.sets(st.integers(0, 13)),
)
def test_sizes_of_parts_and_batches_change_nothing(
    tmp_path_factory, count, part_rows, batch_size, bad
):
    folder = tmp_path_factory.mktemp("sizes")
    names = write_files(folder / "in", count, bad=bad)
    calls = []
    written = shards.predict(
        StandIn(batch_size=batch_size),
        folder / "in",
        folder / "p.csv",
        part_rows=part_rows,
        on_progress=lambda done, total: calls.append((done, total)),
    )
    table = read_csv(folder / "p.csv")
    assert table["path"].tolist() == names
    assert written.errors == sum(index in bad for index in range(count))
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert calls[0] == (0, count)
    assert calls[-1] == (count, count)
    assert not (folder / "p.csv.parts").exists()


def test_an_existing_file_is_not_overwritten(tmp_path):
    write_files(tmp_path / "in", 2)
    out = tmp_path / "p.csv"
    out.write_text("precious")
    with pytest.raises(UserError, match=r"^out must be the name of a file that is not there yet, "):
        shards.predict(StandIn(), tmp_path / "in", out)
    assert out.read_text() == "precious"
    assert not (tmp_path / "p.csv.parts").exists()
    shards.predict(StandIn(), tmp_path / "in", out, overwrite=True)
    assert len(read_csv(out)) == 2


def test_the_rows_beside_an_npy_are_not_overwritten_either(tmp_path):
    write_files(tmp_path / "in", 2)
    (tmp_path / "e.parquet").write_text("precious")
    with pytest.raises(UserError, match="must be the name of a file that is not there yet"):
        shards.embed(StandIn(), tmp_path / "in", tmp_path / "e.npy")
    assert (tmp_path / "e.parquet").read_text() == "precious"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"out": "p.txt"}, r"out must be a name that ends in .csv or .parquet, got '.*p.txt'"),
        ({"shard": (0, 3)}, r"shard must be i/n with 1 <= i <= n, got '0/3'"),
        ({"shard": (4, 3)}, r"shard must be i/n with 1 <= i <= n, got '4/3'"),
        ({"part_rows": 0}, r"part_rows must be >= 1, got 0"),
        ({"source": "nowhere"}, r"input must be an existing folder, image or table, got '.*'"),
        ({"source": "empty"}, r"input must be a place with at least one image, got .*empty"),
        ({"model": StandIn(classes=())}, r"model must be one with classes or centres, got 'm0'"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(tmp_path, change, sentence):
    write_files(tmp_path / "in", 2)
    (tmp_path / "empty").mkdir()
    given = {"model": StandIn(), "source": "in", "out": "p.csv", **change}
    model, source, out = given.pop("model"), given.pop("source"), given.pop("out")
    with pytest.raises(UserError, match=f"^{sentence}$"):
        shards.predict(model, tmp_path / source, tmp_path / out, **given)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["empty", "in"]


def test_the_output_may_lie_among_the_inputs(tmp_path):
    names = write_files(tmp_path, 5)
    shards.predict(StandIn(), tmp_path, tmp_path / "p.csv")
    shards.predict(StandIn(), tmp_path, tmp_path / "q.csv")
    assert read_csv(tmp_path / "q.csv")["path"].tolist() == names
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "q.csv").read_bytes()


def test_files_that_are_no_images_are_counted_and_left_out(tmp_path):
    names = write_files(tmp_path / "in", 3)
    for name in ("labels.csv", ".hidden.png", "notes.txt", "Thumbs.db"):
        (tmp_path / "in" / name).write_text("x")
    written = shards.predict(StandIn(), tmp_path / "in", tmp_path / "p.csv")
    assert read_csv(tmp_path / "p.csv")["path"].tolist() == names
    assert written.left_out == 2
