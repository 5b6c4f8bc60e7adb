"""Other sets of images beside the one in question: which pictures do both have?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from likeness.data.examine import Examined
from likeness.data.manifest import Manifest
from likeness.data.overlap import Overlap, overlap_with
from likeness_apps.shell.console import progress
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.screening import screened


def other_sets(domain: Domain, paths: Sequence[Path]) -> dict[str, Manifest]:
    """The sets at these places by their names; with a number where two are called the same.

    Raises:
        UserError: if one is not recognised.
    """
    shown = [screened(domain, path, quiet=True) for path in paths]
    hide = domain.screen_names or list
    names = hide([path.resolve().name for path in paths])
    return {
        name if names.count(name) == 1 else f"{name} ({number})": domain.recognise(path)
        for number, (name, path) in enumerate(zip(names, shown, strict=True), start=1)
    }


def shared_pictures(
    manifest: Manifest,
    others: Mapping[str, Manifest],
    *,
    examined: Sequence[Examined] | None = None,
    quiet: bool = False,
) -> list[Overlap]:
    """Pictures of a set that others have, too; see `overlap_with`.

    Args:
        manifest: the set.
        others: the others, by name.
        examined: what is known already of the images of `manifest`, in their order.
        quiet: no progress bar.
    """
    with progress("comparing sets", quiet=quiet) as advance:
        return overlap_with(manifest, others, examined=examined, on_progress=advance)
