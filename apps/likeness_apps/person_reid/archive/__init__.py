"""Tracklets that are kept and asked: an index with a purpose and an end, and matches of folders.

An index is a directory: `index.faiss`, `rows.parquet` and `index.json` of `likeness.search.index`,
`model/` (without the names of those whom it was trained on), `crops/` if somebody asked for
pictures, `README.md`, and `audit.jsonl`, which counts and names nobody.
"""
