"""`index` and `search`: an archive that answers with its most similar pictures.

An index carries its model, so that queries on another machine are embedded by the same weights.

Shapes: Q = queries, D = embedding dimension, K = neighbours.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from likeness.bundle import Bundle, load_bundle
from likeness.data.manifest import Manifest, images_in, read_table
from likeness.errors import UserError, require
from likeness.files import atomic_directory, atomic_path, sha256_file
from likeness.inference.blocks import answer_paths
from likeness.inference.predictor import Predictor
from likeness.search.index import Index, build_index, open_index
from likeness_apps.shell.console import progress, say, show_table
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.evaluate import content_hashes, split_of
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.report.sheets import MAX_ROWS, SheetItem, SheetRow, write_sheet
from likeness_apps.shell.results import thumbnail

SHEET_COLUMNS = 10
FACTS = "index.json"
ANSWER = ("query", "status", "reason", "rank", "distance")  # columns that `search` adds to the rows


def index(
    domain: Domain,
    model: Path,
    data: Path,
    out: Path,
    batch_size: int = 64,
    *,
    quiet: bool = False,
) -> Path:
    """Embed a set and write a flat (exact) faiss index with its rows and its model.

    Args:
        domain: the application.
        model: a bundle or a run.
        data: a data set, a table, or a folder of unlabelled images.
        out: the index directory; an older index there is replaced.
        batch_size: images per forward pass.
        quiet: no progress.

    Returns:
        The index directory.

    Raises:
        UserError: if no image can be read or `out` holds something else.
    """
    if not (out / FACTS).is_file():  # an older index may be replaced, and nothing else
        require_new(out, "a new or empty directory, or an older index")
    bundle = load_bundle(model)
    predictor = Predictor(bundle, batch_size=batch_size, columns="embed")
    manifest = _archive(domain, data)
    paths = manifest.table["path"].tolist()
    embeddings_GD, ok_G, reasons = _embed(predictor, paths, manifest.root, quiet=quiet)
    for path, reason in zip(np.array(paths, dtype=object)[~ok_G], reasons, strict=True):
        say(f"left out: {path}: {reason}", quiet=quiet)
    require(ok_G.any(), "data", "at least one readable image", reasons[0] if reasons else 0)
    rows = manifest.table.assign(sha256=content_hashes(manifest, quiet=quiet))[ok_G]
    rows = rows.drop(columns=[name for name in ANSWER if name in rows])
    facts = {"root": str(manifest.root.absolute()), "app": domain.name}
    facts |= {"data_licence": bundle.data_licence or "not stated"}
    build_index(
        out,
        embeddings_GD[ok_G],
        rows,
        space=bundle.space,
        model_id=bundle.model_id,
        facts=facts,
    )
    _carry_model(bundle, out / "model")
    say(f"{out}: {int(ok_G.sum())} images, model {bundle.model_id}", quiet=quiet)
    say(
        f"Next: likeness {domain.name} search {shlex.quote(str(out))} IMAGE --sheet sheet.png",
        quiet=quiet,
    )
    return out


def search(
    domain: Domain,
    archive: Path,
    query: Path | Sequence[Path],
    *,
    k: int = 10,
    out: Path | None = None,
    sheet: Path | None = None,
    note: str = "",
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
        note: said below the sheet, `generated data` for example.
        quiet: no table on the screen.

    Returns:
        query, status, reason, rank, distance, then the columns of the index's rows. A query that
        cannot be read is one row at the end with status `error`, a reason, and no rank.

    Raises:
        UserError: if the index is damaged, k is larger than it, or no query can be read.
    """
    if out is not None:
        require(out.suffix in (".csv", ".parquet"), "out", "a .csv or .parquet file", str(out))
    if sheet is not None:
        require(sheet.suffix == ".png", "sheet", "a .png file", str(sheet))
    require((archive / "model").is_dir(), "index", "a directory that `index` wrote", str(archive))
    bundle = load_bundle(archive / "model")
    opened = open_index(archive, model_id=bundle.model_id)
    files = _query_files(query)
    predictor = Predictor(bundle, columns="embed")
    embeddings_QD, ok_Q, reasons = _embed(predictor, [str(f) for f in files], Path(), quiet=quiet)
    require(ok_Q.any(), "query", "at least one readable image", reasons[0] if reasons else 0)
    asked = [file for file, ok in zip(files, ok_Q, strict=True) if ok]
    hashes = [sha256_file(file) for file in asked]
    found = _found(opened, embeddings_QD[ok_Q], asked, hashes, k)
    failed = [str(file) for file, ok in zip(files, ok_Q, strict=True) if not ok]
    for file, reason in zip(failed, reasons, strict=True):
        say(f"cannot be asked: {file}: {reason}", quiet=quiet)
    table = _with_failures(found, failed, reasons)
    if out is not None:
        _write(table, out)
    if sheet is not None:
        write_sheet(
            sheet,
            _sheet_rows(found, asked, _labels(bundle, hashes), Path(opened.facts["root"])),
            title=f"likeness {domain.name}",
            caption=". ".join(filter(None, (note, f"distances in the {opened.space} space"))),
        )
        say(f"{sheet}: {min(len(asked), MAX_ROWS)} of {len(asked)} queries", quiet=quiet)
    _show(found, quiet=quiet)
    return table


def test_queries(domain: Domain, model: Path, data: Path, *, count: int) -> list[Path]:
    """Some test images of a model's own data, of different classes, for a demonstration."""
    bundle = load_bundle(model)
    manifest = domain.recognise(data)
    table = manifest.table[(split_of(manifest, bundle, quiet=True) == "test").to_numpy()]
    firsts = table.drop_duplicates("label")
    step = max(1, len(firsts) // count)
    return [manifest.file(path) for path in firsts["path"].iloc[::step].head(count)]


def _archive(domain: Domain, data: Path) -> Manifest:
    """A labelled set where it is one; any folder or list of images is an archive, too."""
    if data.is_file() and data.suffix.lower() in (".csv", ".tsv", ".parquet", ".pq"):
        return read_table(data, labelled=False)
    try:
        return domain.recognise(data)
    except UserError:
        return images_in(data)


def _embed(
    predictor: Predictor, paths: list[str], root: Path, *, quiet: bool
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Embeddings (N, D), which rows have one, and the reasons of those that have none."""
    parts, oks, reasons = [], [], []
    done = 0
    with progress("embedding", quiet=quiet) as advance:
        for block in answer_paths(predictor, paths, root):
            parts.append(block.embeddings_BD)
            oks.append(block.ok_B)
            reasons += [reason for reason in block.reasons if reason]
            done += len(block.ok_B)
            advance(done, len(paths))
    return np.concatenate(parts), np.concatenate(oks), reasons


def _query_files(query: Path | Sequence[Path]) -> list[Path]:
    if not isinstance(query, Path):
        return list(query)
    require(query.exists(), "query", "an existing image or folder of images", str(query))
    manifest = images_in(query)
    return [manifest.file(path) for path in manifest.table["path"]]


def _found(
    opened: Index, embeddings_QD: np.ndarray, asked: list[Path], hashes: list[str], k: int
) -> pd.DataFrame:
    """Ask for as many more as there are copies of a query in the index, then leave those out."""
    copies = opened.rows["sha256"].value_counts()
    most = max((int(copies.get(item, 0)) for item in hashes), default=0)
    rule = f"between 1 and {len(opened) - most}, the rows of the index without the query's copies"
    require(1 <= k <= len(opened) - most, "k", rule, k)
    table = opened.table(
        opened.search(embeddings_QD, k + most), [str(position) for position in range(len(asked))]
    )
    position = table["query"].astype(int)
    own = table["sha256"] == position.map(dict(enumerate(hashes)))
    kept = table[~own].assign(query=position.map({i: str(f) for i, f in enumerate(asked)}))
    kept["rank"] = kept.groupby(position[~own]).cumcount() + 1
    kept.insert(1, "status", "ok")
    kept.insert(2, "reason", "")
    return kept[kept["rank"] <= k].reset_index(drop=True)


def _with_failures(found: pd.DataFrame, failed: list[str], reasons: list[str]) -> pd.DataFrame:
    """One more row for each query that could not be read."""
    if not failed:
        return found
    rows = pd.DataFrame({"query": failed, "status": "error", "reason": reasons})
    typed = found.astype({"rank": "Int64"})  # holds "none", unlike a plain integer
    return pd.concat([typed, rows], ignore_index=True)


def _labels(bundle: Bundle, hashes: list[str]) -> list[str]:
    """The class of a query that the model's splits know by content; "" for others."""
    known = dict(zip(bundle.splits["sha256"], bundle.splits["label"], strict=True))
    return [str(known.get(item, "")) for item in hashes]


def _sheet_rows(
    found: pd.DataFrame, asked: list[Path], labels: list[str], root: Path
) -> list[SheetRow]:
    rows = []
    for file, label in list(zip(asked, labels, strict=True))[:MAX_ROWS]:
        results = []
        for hit in found[found["query"] == str(file)].head(SHEET_COLUMNS).itertuples():
            right = hit.label == label if label and hit.label else None
            results.append(
                SheetItem(
                    thumbnail(root / str(hit.path)),
                    str(hit.label),
                    float(hit.distance),
                    right,
                    str(hit.path),
                )
            )
        rows.append(SheetRow(SheetItem(thumbnail(file), label, name=file.name), results))
    return rows


def _carry_model(bundle: Bundle, target: Path) -> None:
    with atomic_directory(target) as new:
        for file in bundle.path.iterdir():
            if file.is_file():
                shutil.copyfile(file, new / file.name)


def _write(found: pd.DataFrame, out: Path) -> None:
    with atomic_path(out) as temporary:
        if out.suffix == ".csv":
            found.to_csv(temporary, index=False, lineterminator="\n")
        else:
            found.to_parquet(temporary, index=False)


def _show(found: pd.DataFrame, *, quiet: bool) -> None:
    shown = found.head(50)
    rows = [
        (Path(str(hit.query)).name, hit.rank, f"{hit.distance:.4f}", hit.label, hit.path)
        for hit in shown.itertuples()
    ]
    columns = ("query", "rank", "distance", "label", "path")
    show_table("Nearest", columns, rows, numeric=("rank", "distance"), quiet=quiet)
    if len(found) > len(shown):
        say(f"{len(found) - len(shown)} more rows; use --out for all", quiet=quiet)
