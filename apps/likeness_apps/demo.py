"""`make demo`: from nothing to a trained, measured, searchable model behind one gallery.html."""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from likeness_apps.shell.commands import command, settle_process
from likeness_apps.shell.console import say
from likeness_apps.shell.domain import Domain

QUERIES = 6
JOURNAL, CURVES = "journal.json", "run/logs/curves.png"
# What the whole demo takes on 2 CPU cores, and leaves on disk.
COSTS = {
    "facial-expression": ("3 minutes", "700 MB"),
    "person-reid": ("3 minutes", "300 MB"),
    "remote-sensing": ("5 minutes", "550 MB"),
    "skin-lesion": ("6 minutes", "550 MB"),
}
# How much is generated, where that is not what `sample` draws by default.
SIZES = {
    "facial-expression": {"per_class": 100},
    "person-reid": {"people": 160},
    "skin-lesion": {"per_class": 300},
}


@dataclass
class Journal:
    """The commands that were run, how long each took, and what an application adds to the page.

    Attributes:
        app: the application's name.
        data: the set that is shown.
        generated: it was drawn for the demo.
        private: it is somebody's own and its names may name people: no path of it is shown.
        notice: a sentence above everything; "" for none.
        start: when the demo began, on the clock of `time.perf_counter`.
        lines: commands with their seconds.
        cards: title, file relative to the page, text, and picture relative to the page.
    """

    app: str
    data: Path
    generated: bool
    private: bool = False
    notice: str = ""
    start: float = field(default_factory=time.perf_counter)
    lines: list[tuple[str, float]] = field(default_factory=list)
    cards: list[tuple[str, str, str, str]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Since the demo began."""
        return time.perf_counter() - self.start

    def shown(self, image: Path | None = None) -> str:
        """The data, or an image of them, as a command line has it."""
        if self.private:
            return "DATA" if image is None else "IMAGE"
        return shlex.quote(str(image or self.data))

    def run(self, line: str, work: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Do `work` and note it under the command line that does the same."""
        say(f"\n[{self.seconds:5.0f} s] likeness {self.app} {line}")
        begun = time.perf_counter()
        result = work(*args, **options)
        self.lines.append((f"likeness {self.app} {line}", time.perf_counter() - begun))
        return result

    def card(self, title: str, href: str, text: str, picture: str = "") -> None:
        """Put a card on the page, for a file relative to it.

        Args:
            title: what it is.
            href: the file.
            text: a sentence or two.
            picture: a file; "" takes the PNG that lies beside `href` under its name, if any does.
        """
        self.cards.append(
            (title, href, text, picture or str(PurePosixPath(href).with_suffix(".png")))
        )

    def save(self, out: Path) -> None:
        """Keep it for `make gallery`."""
        from likeness.files import write_json

        write_json(
            out / JOURNAL,
            {
                "app": self.app,
                "generated": self.generated,
                "notice": self.notice,
                "lines": self.lines,
                "cards": self.cards,
            },
        )


def domains() -> dict[str, Domain]:
    """The applications that have a demo."""
    from likeness_apps.facial_expression.domain import DOMAIN as FACIAL_EXPRESSION
    from likeness_apps.person_reid.domain import DOMAIN as PERSON_REID
    from likeness_apps.remote_sensing.domain import DOMAIN as REMOTE_SENSING
    from likeness_apps.skin_lesion.domain import DOMAIN as SKIN_LESION

    known = (FACIAL_EXPRESSION, PERSON_REID, REMOTE_SENSING, SKIN_LESION)
    return {domain.name: domain for domain in known}


def demo(domain: Domain, out: Path, data: Path | None) -> Path:
    """Sample (or take `data`), train, evaluate, index, search, and put it all on one page.

    Args:
        domain: the application.
        out: a new or empty directory.
        data: a data set of the person's own; None generates one.

    Returns:
        The gallery.

    Raises:
        UserError: if `out` is occupied, or the data cannot be used.
    """
    from likeness_apps.shell.inspect import write_sample
    from likeness_apps.shell.outputs import require_new

    require_new(out)
    time_taken, size = COSTS[domain.name]
    say(f"This takes about {time_taken} on 2 CPU cores and {size} under {out}/.")
    journal = Journal(
        domain.name,
        data or out / "data",
        generated=data is None,
        private=data is not None and domain.screen is not None,
        notice=domain.notice,
    )
    if data is None:
        asked = SIZES.get(domain.name, {})
        words = [f"--{name.replace('_', '-')} {count}" for name, count in asked.items()]
        line = " ".join([f"sample {out}/data", *words])
        journal.data = journal.run(line, write_sample, domain, out / "data", seed=0, **asked)
    tour = domain.tour or functools.partial(_tour, domain)
    tour(journal, out)
    journal.save(out)
    gallery = write_page(out)
    say(f"\n[{journal.seconds:5.0f} s] done. Open {gallery}")
    return gallery


def _tour(domain: Domain, journal: Journal, out: Path) -> None:
    """What all fields of labelled images show; a first sheet comes soon, from a quick model."""
    from likeness_apps.shell.evaluate import evaluate

    _train_and_search(domain, journal, out, config="smoke", prefix="first-")
    say(f"[{journal.seconds:5.0f} s] a first search sheet: {out}/first-sheet.png")
    run = _train_and_search(domain, journal, out, config="demo", prefix="")
    journal.run(
        f"evaluate {run} {journal.shown()} --out {out}/result --include-images",
        evaluate,
        domain,
        run,
        journal.data,
        out / "result",
        include_images=True,
    )
    journal.card("Search sheet", "sheet.png", "Test images and what is most alike.")
    if domain.demo is not None:
        domain.demo(journal, run, out)
    journal.card("Evaluation", "result/report.html", "Test figures, with intervals.")
    journal.card("Training run", "run/report.html", "Curves and validation figures.", CURVES)
    journal.card("Index", "index/index.json", "What search asks; it carries its model.")
    journal.card("First sheet", "first-sheet.png", "After two epochs.")


def _train_and_search(
    domain: Domain, journal: Journal, out: Path, *, config: str, prefix: str
) -> Path:
    """Train, index, and ask with a few test images, which the model has not seen."""
    from likeness_apps.shell.report.sheets import GENERATED
    from likeness_apps.shell.screening import screened
    from likeness_apps.shell.search import index, search, test_queries
    from likeness_apps.shell.train import train

    run, archive, sheet = (out / f"{prefix}{name}" for name in ("run", "index", "sheet.png"))
    data, shown = journal.data, journal.shown()
    journal.run(
        f"train {shown} --config {config} --out {run} --include-images",
        train,
        domain,
        data,
        run,
        config=config,
        include_images=True,
    )
    journal.run(f"index {run} {shown} --out {archive}", index, domain, run, data, archive)
    queries = test_queries(domain, run, screened(domain, data, quiet=True), count=QUERIES)
    place = f" --data {shown}" if journal.private else ""  # no index says where private data are
    journal.run(
        f"search {archive} {journal.shown(queries[0])} -k 8 --sheet {sheet}{place}",
        search,
        domain,
        archive,
        queries,
        k=8,
        sheet=sheet,
        data=data if journal.private else None,
        note=GENERATED if journal.generated else "",
        quiet=True,
    )
    return run


def write_page(out: Path) -> Path:
    """gallery.html from what a demo left in `out`.

    Raises:
        UserError: if there was no demo.
    """
    import pandas as pd

    from likeness.errors import require
    from likeness_apps.shell.report.gallery import Command, GalleryItem, write_gallery
    from likeness_apps.shell.report.sheets import write_learning_curve

    require((out / JOURNAL).is_file(), "out", "a directory that `make demo` has filled", str(out))
    record = json.loads((out / JOURNAL).read_text(encoding="utf-8"))
    write_learning_curve(out / CURVES, pd.read_csv(out / "run" / "logs" / "epochs.csv"))
    items = [
        GalleryItem(title, href, text, _there(out / picture), record["generated"])
        for title, href, text, picture in record["cards"]
    ]
    path, made = out / "gallery.html", "The commands at the end of this page made everything here."
    write_gallery(
        path,
        items,
        title=f"likeness {record['app']}",
        text=f"{made} {record['notice']}".strip(),
        commands=[Command(line, seconds) for line, seconds in record["lines"]],
    )
    return path


def _there(picture: Path) -> Path | None:
    return picture if picture.is_file() else None


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `python -m likeness_apps.demo`."""
    settle_process()
    known = domains()
    parser = argparse.ArgumentParser(description="Show everything on one page.")
    parser.add_argument("--app", choices=sorted(known), default="remote-sensing")
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--data", type=Path, default=None, help="a data set of your own")
    parser.add_argument("--gallery-only", action="store_true", help="make the page again")
    options = parser.parse_args(arguments)
    if options.gallery_only:
        say(f"{write_page(options.out)}")
    else:
        demo(known[options.app], options.out, options.data)


if __name__ == "__main__":
    main(sys.argv[1:])
