"""An index on disk answers as the exact search does, and refuses what it cannot trust."""

import json
import os
import subprocess
import sys

import faiss
import numpy as np
import pandas as pd
import pytest

from likeness.errors import UserError
from likeness.search.exact import nearest
from likeness.search.index import build_index, open_index, write_index

UNHOOKED = pytest.mark.skipif(os.environ.get("LIKENESS_PLAIN") != "1", reason="hook is on")


def embeddings(rows=300, dim=16, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def facts_of(count):
    return pd.DataFrame(
        {"path": [f"images/{n}.png" for n in range(count)], "label": ["a", "b"] * (count // 2)}
    )


def build(folder, rows, space="cosine", **options):
    return build_index(
        folder, rows, facts_of(len(rows)), space=space, model_id="0123456789ab", **options
    )


@pytest.mark.parametrize("space", ["euclidean", "cosine", "dot"])
@pytest.mark.parametrize("queries", [3, 60])  # faiss changes its arithmetic at 20 queries
@pytest.mark.parametrize("kind", ["gaussian", "twins", "lattice", "offset", "tight"])
def test_equals_the_exact_search(tmp_path, space, queries, kind):
    rng = np.random.default_rng(1)
    gallery = {
        "gaussian": embeddings(),
        "twins": embeddings(20)[rng.integers(0, 20, 300)],
        "lattice": rng.integers(1, 3, size=(300, 4)).astype(np.float32),
        "offset": (rng.normal(size=(300, 5)) * 1e-3 + 50).astype(np.float32),
        # Seen from afar: faiss's rounding alone would choose other neighbours.
        "tight": (rng.normal(size=(300, 8)) * 1e-7).astype(np.float32),
    }[kind]
    query = gallery[:queries] * np.float32(1e7 if kind == "tight" else 1)
    build(tmp_path / "index", gallery, space)
    found = open_index(tmp_path / "index").search(query, 9)
    expected = nearest(query, gallery, 9, space=space)
    np.testing.assert_array_equal(found.indices_QK, expected.indices_QK)
    np.testing.assert_array_equal(found.distances_QK, expected.distances_QK)


def test_every_row_can_be_asked_for(tmp_path):
    gallery = embeddings(12)
    index = build(tmp_path / "index", gallery)
    found = index.search(gallery[:2], 12)
    np.testing.assert_array_equal(found.indices_QK, nearest(gallery[:2], gallery, 12).indices_QK)
    with pytest.raises(
        UserError, match=r"^k must be between 1 and 12, the rows of the index, got 13"
    ):
        index.search(gallery, 13)
    with pytest.raises(UserError, match=r"^k must be between 1 and 12"):
        index.search(gallery, 0)


@pytest.mark.parametrize("space", ["euclidean", "cosine", "dot"])
@pytest.mark.parametrize("queries", [3, 60])
def test_chosen_rows_are_searched_as_if_there_were_no_others(tmp_path, space, queries):
    rng = np.random.default_rng(2)
    gallery = embeddings(40)[rng.integers(0, 40, 300)]  # many ties, inside and outside
    index = build(tmp_path / "index", gallery, space)
    for share in (0.03, 0.5):
        within = rng.random(300) < share
        k = min(9, int(within.sum()))
        found = index.search(gallery[:queries], k, within_G=within)
        # Rows that may not answer, put infinitely far by the exact search's own exclusion.
        outside = np.where(within, 0, 1)
        expected = nearest(
            gallery[:queries], gallery, k, space=space, exclude=[(np.ones(queries, int), outside)]
        )
        np.testing.assert_array_equal(found.indices_QK, expected.indices_QK)
        np.testing.assert_array_equal(found.distances_QK, expected.distances_QK)
    rule = f"between 1 and {within.sum()}, the chosen rows of the index"
    with pytest.raises(UserError, match=f"^k must be {rule}"):
        index.search(gallery[:2], int(within.sum()) + 1, within_G=within)


def test_chosen_rows_are_searched_beside_libraries_that_change_faiss(tmp_path):
    """pytorch-metric-learning imports torch_utils, whose `search` takes no selection."""
    build(tmp_path / "index", embeddings())
    code = (
        "import sys, numpy as np, faiss.contrib.torch_utils\n"
        "from likeness.search.index import open_index\n"
        "index = open_index(sys.argv[1])\n"
        "within = np.arange(300) % 2 == 0\n"
        "query = np.ones((2, 16), np.float32)\n"
        "print((index.search(query, 5, within_G=within).indices_QK % 2).sum())\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "index")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "0", done.stderr


def test_what_is_kept(tmp_path):
    rows = embeddings(10)
    table = facts_of(10).set_index("path", drop=False).iloc[::-1]
    build_index(tmp_path / "i", rows, table, space="dot", model_id="m", facts={"licence": "CC0"})
    index = open_index(tmp_path / "i", model_id="m")
    assert (index.space, index.model_id, len(index)) == ("dot", "m", 10)
    assert index.facts == {"licence": "CC0"}
    assert index.rows["path"].tolist() == table["path"].tolist()
    assert sorted(os.listdir(tmp_path)) == ["i"]  # nothing temporary is left
    assert sorted(os.listdir(tmp_path / "i")) == ["index.faiss", "index.json", "rows.parquet"]


def test_neighbours_as_a_table(tmp_path):
    rows = embeddings(10)
    index = build(tmp_path / "i", rows)
    found = index.search(rows[:2], 3)
    table = index.table(found, ["first.png", "second.png"])
    assert table.columns.tolist() == ["query", "rank", "distance", "path", "label"]
    assert table["query"].tolist() == ["first.png"] * 3 + ["second.png"] * 3
    assert table["rank"].tolist() == [1, 2, 3, 1, 2, 3]
    assert table["path"].iloc[3] == "images/1.png"
    assert table["distance"].iloc[3] == 0
    with pytest.raises(UserError, match=r"^names must be 2, one per query, got 1"):
        index.table(found, ["first.png"])


def test_an_index_is_replaced_whole(tmp_path):
    build(tmp_path / "i", embeddings(10))
    build(tmp_path / "i", embeddings(6, seed=3))
    index = open_index(tmp_path / "i")
    assert len(index) == len(index.rows) == 6
    assert os.listdir(tmp_path) == ["i"]


def test_a_failure_leaves_the_old_index(tmp_path, monkeypatch):
    build(tmp_path / "i", embeddings(10))

    def full_disk(*_args, **_options):
        raise OSError(28, "No space left on device")

    def full_for_faiss(*_args):
        raise RuntimeError("Error in FileIOWriter: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(faiss, "write_index", full_for_faiss)
        with pytest.raises(UserError, match=r"^out must be a writable place with free space"):
            build(tmp_path / "i", embeddings(6))
    monkeypatch.setattr(pd.DataFrame, "to_parquet", full_disk)
    with pytest.raises(UserError, match=r"^out must be a writable place with free space"):
        build(tmp_path / "i", embeddings(6))
    assert len(open_index(tmp_path / "i")) == 10
    assert os.listdir(tmp_path) == ["i"]


def test_a_folder_of_something_else_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("two years of work")
    with pytest.raises(UserError, match=r"^out must be a new or empty directory, or an index"):
        build(tmp_path, embeddings(10))
    assert (tmp_path / "thesis.txt").read_text() == "two years of work"
    (tmp_path / "empty").mkdir()
    assert len(build(tmp_path / "empty", embeddings(10))) == 10


@pytest.mark.parametrize("name", ["index.faiss", "rows.parquet"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "swap"])
def test_a_damaged_index_is_refused_in_one_sentence(tmp_path, name, harm):
    build(tmp_path / "i", embeddings(10))
    build(tmp_path / "other", embeddings(10, seed=5).astype(np.float32) * 2, "dot")
    file = tmp_path / "i" / name
    content = bytearray(file.read_bytes())
    if harm == "remove":
        file.unlink()
    elif harm == "swap" and name == "index.faiss":
        file.write_bytes((tmp_path / "other" / name).read_bytes())
    elif harm == "cut":
        file.write_bytes(content[:-40])
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    with pytest.raises(
        UserError, match=f"^index must be undamaged, with the {name} .*, got '.*i'$"
    ):
        open_index(tmp_path / "i")


@pytest.mark.parametrize(
    "record",
    [
        "",
        "[1]",
        "{",
        '{"format_version": 1}',
        '{"format_version": 1, "space": "cosine", "sha256": 3}',
    ],
)
def test_a_broken_record_is_refused(tmp_path, record):
    build(tmp_path / "i", embeddings(10))
    (tmp_path / "i" / "index.json").write_text(record)
    with pytest.raises(UserError, match=r"^index must be a directory with a readable index.json"):
        open_index(tmp_path / "i")


def test_other_formats_models_and_folders_are_refused(tmp_path):
    build(tmp_path / "i", embeddings(10))
    with pytest.raises(
        UserError, match=r"^index must be made by model other, .*got 'model 0123456789ab'"
    ):
        open_index(tmp_path / "i", model_id="other")
    record = json.loads((tmp_path / "i" / "index.json").read_text())
    (tmp_path / "i" / "index.json").write_text(json.dumps({**record, "format_version": 2}))
    with pytest.raises(UserError, match=r"of format 1, got"):
        open_index(tmp_path / "i")
    with pytest.raises(UserError, match=r"^index must be a directory made by `index`"):
        open_index(tmp_path)


def test_rows_and_embeddings_must_agree(tmp_path):
    with pytest.raises(UserError, match=r"^rows must be 10, one per embedding, got 8"):
        build_index(tmp_path / "i", embeddings(10), facts_of(8), space="dot", model_id="m")
    broken = embeddings(10)
    broken[3] = np.inf
    with pytest.raises(UserError, match=r"^embeddings must be finite"):
        build(tmp_path / "i", broken)
    assert os.listdir(tmp_path) == []


def test_queries_of_another_width_are_refused(tmp_path):
    index = build(tmp_path / "i", embeddings(10, 16))
    with pytest.raises(UserError, match=r"^query must be 16 numbers a row, as in the index, got 8"):
        index.search(embeddings(3, 8), 1)


def test_a_part_of_an_index_keeps_its_embeddings_bit_for_bit(tmp_path):
    whole = build(tmp_path / "index", embeddings(40), facts={"licence": "CC0"})
    keep = np.arange(40) % 3 == 0
    (tmp_path / "part").mkdir()
    write_index(
        tmp_path / "part",
        whole.embeddings_GD[keep],
        whole.rows[keep],
        space=whole.space,
        model_id=whole.model_id,
        facts=whole.facts,
    )
    part = open_index(tmp_path / "part", model_id=whole.model_id)
    np.testing.assert_array_equal(part.embeddings_GD, whole.embeddings_GD[keep])
    assert part.rows.equals(whole.rows[keep].reset_index(drop=True))
    assert part.facts == {"licence": "CC0"}
    copy = whole.embeddings_GD
    copy[:] = 0  # a copy: the index stays as it is
    assert whole.embeddings_GD.any()
