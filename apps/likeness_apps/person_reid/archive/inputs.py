"""Whatever holds people, as tracklets: a set, a table, a folder of anything, one image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from likeness.data.findings import Finding
from likeness.data.manifest import Manifest, build
from likeness.data.tables import TABLE_SUFFIXES
from likeness.errors import require
from likeness_apps.person_reid.layouts.recognition import OWN, PUBLISHED
from likeness_apps.person_reid.layouts.tree import Tree, files_of, read_tree
from likeness_apps.person_reid.tracklets.tables import provisional_labels
from likeness_apps.shell.console import say
from likeness_apps.shell.domain import Domain

LOOSE = "images"
EMPTY = "empty-tracklet"  # code of the finding of a folder without a frame
NO_FRAME = "no frame"  # why such a folder takes no part


def people_in(domain: Domain, source: Path, *, name: str = "data") -> Manifest:
    """The frames of a set or table; of anything else by their folders.

    Where no layout fits, the images of a folder below `source` are one tracklet, called by the
    folder's path, and images that lie in `source` itself are tracklets of one frame.

    Args:
        domain: the application.
        source: a folder, a table, or one image (whose ending does not matter).
        name: what to call it in an error.

    Returns:
        A manifest with the columns `tracklet` and `camera` ("" if unknown). Folders without a frame
        are findings of the code `EMPTY`. Provisional numbers of tracks are no labels.

    Raises:
        UserError: if there is no such path or no image in it, or as `recognise`.
    """
    require(source.exists(), name, "an existing image, folder or table", str(source))
    if source.is_file():
        if source.suffix.lower() in TABLE_SUFFIXES:
            return domain.recognise(source)
        return _manifest(source.absolute().parent, [source.name], [source.name])
    tree = read_tree(source)
    require(tree.images, name, "a folder with image files in it", str(source))
    if any(files_of(tree, layout.folder, layout.file) for layout in (*PUBLISHED, OWN)):
        return _without_provisional(domain.recognise(source), source)
    return _by_folder(tree)


def query_in(domain: Domain, query: Path, *, quiet: bool = False) -> Manifest:
    """As `people_in`, but a folder with nothing but frames in it is one tracklet, and that is said.

    Raises:
        UserError: as `people_in`.
    """
    manifest = people_in(domain, query, name="query")
    if (
        query.is_file()
        or manifest.layout != LOOSE
        or manifest.table["path"].str.contains("/").any()
    ):
        return manifest
    frames = len(manifest.table)
    advice = "for several people, give each a folder in it"
    say(f"query: {frames} images are taken as frames of one tracklet ({advice})", quiet=quiet)
    return manifest.with_table(manifest.table.assign(tracklet=query.resolve().name))


def empty_tracklets(manifest: Manifest) -> list[str]:
    """The folders of a set that hold no frame."""
    return [finding.path for finding in manifest.findings if finding.code == EMPTY]


def _without_provisional(manifest: Manifest, source: Path) -> Manifest:
    """The same set; the same number in two sets of `tracklets` must not look like one identity."""
    label = manifest.table["label"]
    nobody = label.isin(provisional_labels(source))
    return manifest.with_table(manifest.table.assign(label=label.mask(nobody, "")))


def _by_folder(tree: Tree) -> Manifest:
    pairs = [
        (f"{folder}/{name}".lstrip("/"), folder or name)
        for folder, names in tree.images.items()
        for name in names
    ]
    paths, tracklets = zip(*pairs, strict=True)
    return _manifest(tree.source.absolute(), paths, tracklets, tree.bare)


def _manifest(
    root: Path, paths: Iterable[str], tracklets: Iterable[str], bare: Iterable[str] = ()
) -> Manifest:
    message, advice = "a folder without any image", "add its frames or remove it"
    findings = [Finding("warning", EMPTY, folder, message, advice) for folder in bare]
    listed = list(paths)
    columns = {"path": listed, "tracklet": list(tracklets), "camera": [""] * len(listed)}
    return build(root, columns, LOOSE, findings)
