"""`make demo`: from nothing to a trained, measured, searchable model behind one gallery.html."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from likeness_apps.shell.commands import command
from likeness_apps.shell.console import say
from likeness_apps.shell.domain import Domain

QUERIES = 6


@dataclass
class Journal:
    """The commands that were run and how long each took."""

    start: float = field(default_factory=time.perf_counter)
    lines: list[tuple[str, float]] = field(default_factory=list)

    def run(self, line: str, work: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Do `work` and note it under the command line that would do the same."""
        say(f"\n[{time.perf_counter() - self.start:5.0f} s] {line}")
        begun = time.perf_counter()
        result = work(*args, **options)
        self.lines.append((line, time.perf_counter() - begun))
        return result


def domains() -> dict[str, Domain]:
    """The applications that have a demo."""
    from likeness_apps.remote_sensing.cli import DOMAIN as REMOTE_SENSING

    return {REMOTE_SENSING.name: REMOTE_SENSING}


def demo(domain: Domain, out: Path, data: Path | None) -> Path:
    """Sample (or take `data`), train, evaluate, index, search; a first sheet after a quick model.

    Args:
        domain: the application.
        out: a new or empty directory.
        data: a data set of the person's own; None generates one.

    Returns:
        The gallery.

    Raises:
        UserError: if `out` is occupied, or the data cannot be used.
    """
    from likeness_apps.shell.evaluate import evaluate
    from likeness_apps.shell.inspect import write_sample
    from likeness_apps.shell.search import index
    from likeness_apps.shell.train import train

    say("This takes about 5 minutes on 2 CPU cores and 300 MB under " + str(out) + "/.")
    journal = Journal()
    name = f"likeness {domain.name}"
    if data is None:
        where = out / "data"
        data = journal.run(f"{name} sample {where}", write_sample, domain, where, seed=0)
        generated = True
    else:
        generated = False
    assert data is not None
    shown = shlex.quote(str(data))

    quick, first = out / "first-run", out / "first-index"
    journal.run(
        f"{name} train {shown} --config smoke --out {quick}",
        train,
        domain,
        data,
        quick,
        config="smoke",
        include_images=True,
    )
    journal.run(f"{name} index {quick} {shown} --out {first}", index, domain, quick, data, first)
    _search(domain, journal, first, data, quick, out / "first-sheet.png")
    say(
        f"A first search sheet, after {time.perf_counter() - journal.start:.0f} s: {out}/first-sheet.png"
    )

    run, result, archive = out / "run", out / "result", out / "index"
    journal.run(
        f"{name} train {shown} --config demo --out {run} --include-images",
        train,
        domain,
        data,
        run,
        config="demo",
        include_images=True,
    )
    journal.run(
        f"{name} evaluate {run} {shown} --out {result} --include-images",
        evaluate,
        domain,
        run,
        data,
        result,
        include_images=True,
    )
    journal.run(f"{name} index {run} {shown} --out {archive}", index, domain, run, data, archive)
    _search(domain, journal, archive, data, run, out / "sheet.png")
    gallery = write_page(domain, out, journal.lines, generated=generated)
    say(f"\nDone in {time.perf_counter() - journal.start:.0f} s. Open {gallery}")
    return gallery


def _search(
    domain: Domain, journal: Journal, archive: Path, data: Path, run: Path, sheet: Path
) -> None:
    """Ask with a few test images, which the model has not seen."""
    from likeness_apps.shell.search import search, test_queries

    queries = test_queries(domain, run, data, count=QUERIES)
    line = f"likeness {domain.name} search {archive} {shlex.quote(str(queries[0]))} --sheet {sheet}"
    journal.run(line, search, domain, archive, queries, k=8, sheet=sheet)


def write_page(
    domain: Domain, out: Path, lines: Sequence[tuple[str, float]], *, generated: bool
) -> Path:
    """gallery.html in `out`: cards for what lies there."""
    from likeness_apps.shell.report.gallery import Command, GalleryItem, write_gallery

    cards = [
        ("Search sheet", "sheet.png", "Test images and their nearest neighbours.", "sheet.png"),
        ("Evaluation", "result/report.html", "Figures on the test split, with intervals.", None),
        (
            "Training run",
            "run/report.html",
            "Learning curves and validation figures.",
            "run/logs/curves.png",
        ),
        ("Index", "index/rows.parquet", "What `search` asks.", None),
        (
            "First sheet",
            "first-sheet.png",
            "The same after a minute of training.",
            "first-sheet.png",
        ),
    ]
    items = [
        GalleryItem(title, href, text, out / picture if picture else None, generated)
        for title, href, text, picture in cards
        if (out / href).exists()
    ]
    path = out / "gallery.html"
    write_gallery(
        path,
        items,
        title=f"likeness {domain.name}",
        text="Everything below was made by the commands at the end of this page.",
        commands=[Command(line, seconds) for line, seconds in lines],
    )
    return path


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `python -m likeness_apps.demo`."""
    known = domains()
    parser = argparse.ArgumentParser(description="Show everything on one page.")
    parser.add_argument("--app", choices=sorted(known), default="remote-sensing")
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--data", type=Path, default=None)
    options = parser.parse_args(arguments)
    demo(known[options.app], options.out, options.data)


if __name__ == "__main__":
    main(sys.argv[1:])
