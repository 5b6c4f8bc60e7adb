"""`index` and `search`: an archive that answers with its most similar pictures.

An index carries its model, so that queries on another machine are embedded by the same weights.
`index` and `search` are made of parts (`write_archive`, `open_archive`, `ask_files`,
`nearest_rows`, `answers.deliver`), which an application may put together in another way where its
pictures are no whole files.

Shapes: Q = queries, G = rows of the index, D = embedding dimension, K = neighbours.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.bundle import Bundle, load_bundle
from likeness.data.listing import images_in
from likeness.data.manifest import Manifest
from likeness.data.tables import read_table
from likeness.errors import UserError, require
from likeness.files import atomic_directory
from likeness.inference.hashed import answer_hashed
from likeness.inference.predictor import Predictor
from likeness.search.index import Index, build_index, open_index
from likeness_apps.shell.answers import Asked, Query, deliver, require_outputs
from likeness_apps.shell.console import progress, say
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.matching import content_hashes, split_of
from likeness_apps.shell.members import own_bundle
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.report.data import Picture
from likeness_apps.shell.results import thumbnail, thumbnail_of
from likeness_apps.shell.screening import place_to_record, screened

FACTS = "index.json"
ANSWER = ("query", "status", "reason", "rank", "distance")  # columns that `search` adds to the rows


def index(
    domain: Domain,
    model: Path,
    data: Path,
    out: Path,
    batch_size: int = 64,
    *,
    describe: Callable[[Manifest], pd.DataFrame] | None = None,
    device: str = "cpu",
    quiet: bool = False,
) -> Path:
    """Embed a set and write a flat (exact) faiss index with its rows and its model.

    Args:
        domain: the application.
        model: a bundle or a run.
        data: a data set, a table, or a folder of unlabelled images.
        out: the index directory; an older index there is replaced.
        batch_size: images per forward pass.
        describe: further columns of the rows, from the manifest of those that are kept.
        device: where the network runs, see `Predictor`.
        quiet: no progress.

    Returns:
        The index directory.

    Raises:
        UserError: if no image can be read or `out` holds something else.
    """
    require_index_or_new(out)
    bundle = own_bundle(domain, model)
    predictor = Predictor(bundle, batch_size=batch_size, columns="embed", device=device)
    manifest = archive_of(domain, screened(domain, data, quiet=quiet))
    paths = manifest.table["path"].tolist()
    embeddings_GD, ok_G, reasons, hashes = _embed(predictor, paths, manifest.root, quiet=quiet)
    for path, reason in zip(np.array(paths, dtype=object)[~ok_G], reasons, strict=True):
        say(f"left out: {path}: {reason}", quiet=quiet)
    require(ok_G.any(), "data", "at least one readable image", reasons[0] if reasons else 0)
    kept = manifest.with_table(manifest.table.assign(sha256=hashes)[ok_G])
    rows = kept.table
    if describe is not None:
        more = describe(kept)
        rows = rows.drop(columns=[name for name in more if name in rows]).join(more)
    write_archive(domain, bundle, embeddings_GD[ok_G], rows, out, manifest, quiet=quiet)
    return out


def search(
    domain: Domain,
    archive: Path,
    query: Path | Sequence[Path],
    *,
    k: int = 10,
    out: Path | None = None,
    sheet: Path | None = None,
    data: Path | None = None,
    note: str = "",
    device: str = "cpu",
    quiet: bool = False,
) -> pd.DataFrame:
    """The k most similar pictures of each query; a query never answers itself.

    Args:
        domain: the application.
        archive: what `index` wrote.
        query: an image, a folder of images, or a list of images.
        k: neighbours per query.
        out: also write the table here (.csv or .parquet).
        sheet: also draw a contact sheet (PNG).
        data: what `index` was given, for the pictures on the sheet; None: where it was then.
        note: said below the sheet, `generated data` for example.
        device: where the network runs, see `Predictor`.
        quiet: no table on the screen.

    Returns:
        query, status, reason, rank, distance, then the columns of the index's rows. A query that
        cannot be read is one row at the end with status `error`, a reason, and no rank.

    Raises:
        UserError: if the index is damaged, k is larger than it, or no query can be read.
    """
    require_outputs(out, sheet)
    bundle, opened = open_archive(archive)
    picture = thumbnail_of(domain)
    root = None
    if domain.screen is not None and isinstance(query, Path):  # folders above may name somebody
        query = screened(domain, query, quiet=quiet)
        root = query if query.is_dir() else query.parent
    asked = ask_files(bundle, query, root=root, picture=picture, device=device, quiet=quiet)
    found = nearest_rows(opened, asked, k)
    place = _pictures(domain, opened, data, told=sheet is not None and not quiet)
    return deliver(
        domain,
        opened,
        asked,
        found,
        out=out,
        sheet=sheet,
        note=note,
        picture=lambda hit: None if place is None else picture(place / str(hit.path)),
        quiet=quiet,
    )


def _pictures(domain: Domain, opened: Index, data: Path | None, *, told: bool) -> Path | None:
    """The folder of the indexed pictures; None if nobody says where it is."""
    if data is not None:
        return archive_of(domain, screened(domain, data, quiet=True)).root
    recorded = str(opened.facts["root"])
    if not recorded:
        say("No place of pictures is in this index: --data shows them", quiet=not told)
    return Path(recorded) if recorded else None


def test_queries(domain: Domain, model: Path, data: Path, *, count: int) -> list[Path]:
    """Some test images of a model's own data, of different classes, for a demonstration."""
    bundle = load_bundle(model)
    manifest = domain.recognise(data)
    hashes = content_hashes(manifest, quiet=True)
    table = manifest.table[(split_of(manifest, bundle, hashes) == "test").to_numpy()]
    firsts = table.drop_duplicates("label")
    step = max(1, len(firsts) // count)
    return [manifest.file(path) for path in firsts["path"].iloc[::step].head(count)]


def archive_of(domain: Domain, data: Path) -> Manifest:
    """A labelled set where it is one; any folder or list of images is an archive, too."""
    if data.is_file() and data.suffix.lower() in (".csv", ".tsv", ".parquet", ".pq"):
        return read_table(data, labelled=False)
    try:
        return domain.recognise(data)
    except UserError:
        return images_in(data)


def require_index_or_new(out: Path) -> None:
    """An older index may be replaced, and nothing else."""
    if not (out / FACTS).is_file():
        require_new(out, "a new or empty directory, or an older index")


def write_archive(
    domain: Domain,
    bundle: Bundle,
    embeddings_GD: np.ndarray,
    rows: pd.DataFrame,
    out: Path,
    manifest: Manifest,
    *,
    facts: Mapping[str, Any] | None = None,
    unit: str = "images",
    quiet: bool = False,
) -> None:
    """Write the index with its model, and say what can be done with it.

    Args:
        domain: the application.
        bundle: the model that made the embeddings.
        embeddings_GD: one per row.
        rows: what is known of each, with `path` relative to the manifest's root.
        out: the index directory.
        manifest: the set that the rows come from.
        facts: more that the index must remember; plain data.
        unit: what a row is, in the plural.
        quiet: say nothing.
    """
    facts = {
        "root": place_to_record(domain, manifest),
        "app": domain.name,
        "multilabel": bundle.multilabel,
        "data_licence": bundle.data_licence or "not stated",
        **(facts or {}),
    }
    rows = rows.drop(columns=[name for name in ANSWER if name in rows])
    build_index(out, embeddings_GD, rows, space=bundle.space, model_id=bundle.model_id, facts=facts)
    _carry_model(bundle, out / "model")
    say(f"{out}: {len(rows)} {unit}, model {bundle.model_id}", quiet=quiet)
    say(
        f"Next: likeness {domain.name} search {shlex.quote(str(out))} IMAGE --sheet sheet.png",
        quiet=quiet,
    )


def open_archive(archive: Path) -> tuple[Bundle, Index]:
    """An index and the model that it carries.

    Raises:
        UserError: if it is no index or damaged.
    """
    require((archive / "model").is_dir(), "index", "a directory that `index` wrote", str(archive))
    bundle = load_bundle(archive / "model")
    return bundle, open_index(archive, model_id=bundle.model_id)


def ask_files(
    bundle: Bundle,
    query: Path | Sequence[Path],
    *,
    key: Callable[[Path], str] | None = None,
    root: Path | None = None,
    picture: Callable[[Path], Picture | None] = thumbnail,
    device: str = "cpu",
    quiet: bool = False,
) -> Asked:
    """Image files as queries.

    Args:
        bundle: the model.
        query: an image, a folder of images, or a list of images.
        key: what `sha256` of a row is if the row is a copy of the file; None: the file's SHA-256.
        root: the folder that queries are called relative to; None: by their whole paths.
        picture: gives the small picture of a file.
        device: where the network runs, see `Predictor`.
        quiet: no progress.

    Raises:
        UserError: if there is no such file, or none can be read.
    """
    files = query_files(query)
    predictor = Predictor(bundle, columns="embed", device=device)
    names = [str(file) for file in files]
    embeddings_QD, ok_Q, reasons, hashes = _embed(predictor, names, Path(), quiet=quiet)
    require(ok_Q.any(), "query", "at least one readable image", reasons[0] if reasons else 0)
    read = [file for file, ok in zip(files, ok_Q, strict=True) if ok]
    hashes = [sha256 for sha256, ok in zip(hashes, ok_Q, strict=True) if ok]
    keys = hashes if key is None else [key(file) for file in read]
    called = {file: str(file if root is None else file.relative_to(root)) for file in files}
    queries = [
        Query(called[file], file.name, copy, label, partial(picture, file))
        for file, copy, label in zip(read, keys, known_labels(bundle, hashes), strict=True)
    ]
    failed = [called[file] for file, ok in zip(files, ok_Q, strict=True) if not ok]
    return Asked(queries, embeddings_QD[ok_Q], list(zip(failed, reasons, strict=True)))


def query_files(query: Path | Sequence[Path]) -> list[Path]:
    """The files of a query: itself, or those in a folder.

    Raises:
        UserError: if there is no such path or no image in it.
    """
    if not isinstance(query, Path):
        return list(query)
    require(query.exists(), "query", "an existing image or folder of images", str(query))
    manifest = images_in(query)
    return [manifest.file(path) for path in manifest.table["path"]]


def known_labels(bundle: Bundle, hashes: Sequence[str]) -> list[str]:
    """The classes of files that the model's splits know by content; "" for others."""
    known = dict(zip(bundle.splits["sha256"], bundle.splits["label"], strict=True))
    return [str(known.get(item, "")) for item in hashes]


def nearest_rows(
    opened: Index, asked: Asked, k: int, *, within_G: np.ndarray | None = None
) -> pd.DataFrame:
    """The table of the k nearest rows of each query, without the query's copies.

    Args:
        opened: the index.
        asked: the queries.
        k: rows per query.
        within_G: the rows that may answer; None: all. If there are fewer than k (and copies of the
            query do not count), all of them answer.

    Raises:
        UserError: without `within_G`, if k is larger than the index.
    """
    rows = opened.rows if within_G is None else opened.rows[within_G]
    copies = rows["sha256"].value_counts()
    # Ask for as many more as there are copies of a query, then leave those out.
    most = max((int(copies.get(query.key, 0)) for query in asked.queries), default=0)
    rule = f"between 1 and {len(rows) - most}, the rows of the index without the query's copies"
    require(k >= 1 and (within_G is not None or k <= len(rows) - most), "k", rule, k)
    deep = min(k + most, len(rows))
    names = [str(position) for position in range(len(asked.queries))]
    table = opened.table(opened.search(asked.embeddings_QD, deep, within_G=within_G), names)
    position = table["query"].astype(int)
    own = table["sha256"] == position.map({i: query.key for i, query in enumerate(asked.queries)})
    named = position.map({i: query.name for i, query in enumerate(asked.queries)})
    kept = table[~own].assign(query=named)
    kept["rank"] = kept.groupby(position[~own]).cumcount() + 1
    kept.insert(1, "status", "ok")
    kept.insert(2, "reason", "")
    return kept[kept["rank"] <= k].reset_index(drop=True)


def _embed(
    predictor: Predictor, paths: list[str], root: Path, *, quiet: bool
) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """Embeddings (N, D), which rows have one, why not where there is none, and all SHA-256."""
    with progress("embedding", quiet=quiet) as advance:
        found = answer_hashed(predictor, paths, root, on_progress=advance)
    embeddings_ND = np.concatenate([block.embeddings_BD for block in found.blocks])
    ok_N = np.concatenate([block.ok_B for block in found.blocks])
    reasons = [reason for block in found.blocks for reason in block.reasons if reason]
    return embeddings_ND, ok_N, reasons, found.sha256


def _carry_model(bundle: Bundle, target: Path) -> None:
    with atomic_directory(target) as new:
        for file in bundle.path.iterdir():
            if file.is_file():
                shutil.copyfile(file, new / file.name)
