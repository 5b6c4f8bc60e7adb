"""What `make demo` shows of people: trained, ranked, kept, and looked for, some of them in vain."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from likeness.data.manifest import Manifest
from likeness.evaluation.verdict import DIFFERENT, SAME, UNKNOWN
from likeness.files import atomic_path
from likeness_apps.person_reid.archive.index import index
from likeness_apps.person_reid.archive.match import match
from likeness_apps.person_reid.archive.ranking import Ranking
from likeness_apps.person_reid.demo_pictures import write_people, write_ranks, write_thresholds
from likeness_apps.person_reid.domain import DOMAIN
from likeness_apps.person_reid.evaluate import evaluate
from likeness_apps.person_reid.identities import JUNK
from likeness_apps.shell.console import say
from likeness_apps.shell.inspect import inspect
from likeness_apps.shell.train import train

if TYPE_CHECKING:
    from likeness_apps.demo import Journal

LOST, ABSENT = 6, 2  # people who are looked for, and how many of them are not there
RANKS = 6
RATE = 0.001  # false accepts of a match: one in a hundred pairs is too many in a large archive
PURPOSE, BASIS = "demonstration", "generated: nobody in it is real"
KEPT = datetime.timedelta(days=30)
OWN = (
    "No index and no match of your own recordings: their purpose, legal basis and retention are "
    "yours to state (docs/person-reid.md)."
)


def find_people_again(journal: Journal, out: Path) -> None:
    """Inspect, train and evaluate; then look for people of one camera among those of the others.

    Of somebody's own recordings no picture is shown, and nothing is kept or looked for.

    Args:
        journal: knows the data, notes commands and cards.
        out: where the demo writes.
    """
    data, shown, pictures = journal.data, journal.shown(), journal.generated
    run, result = out / "run", out / "result"
    protocol = "mars-official" if journal.generated else "cross-camera"
    images = " --include-images" if pictures else ""
    journal.run(f"inspect {shown}", inspect, DOMAIN, data)
    line = f"train {shown} --config demo --out {run}{images}"
    journal.run(line, train, DOMAIN, data, run, config="demo", include_images=pictures)
    line = f"evaluate {run} {shown} --protocol {protocol} --out {result}{images}"
    options = {"protocol": protocol, "include_images": pictures}
    metrics = journal.run(line, evaluate, DOMAIN, run, data, result, **options)
    if journal.generated:
        _look_for(journal, run, out)
    else:
        say(OWN)
    write_ranks(out / "ranks.png", metrics)
    write_thresholds(out / "thresholds.png", metrics["open_set"])
    text = "Test people: ranks, pairs of cameras, strips of tracklets, who is taken for whom."
    journal.card("Ranks and cameras", "result/report.html", text, "ranks.png")
    journal.card("Same, different or unknown", "thresholds.png", _told(metrics["open_set"]))
    text = "Curves, and the validation people who chose the epoch and the thresholds."
    journal.card("Training run", "run/report.html", text, "run/logs/curves.png")
    if journal.generated:
        _show_people(journal, out)


def _look_for(journal: Journal, run: Path, out: Path) -> None:
    """Keep the tracklets of all cameras but one, and look there for people of that one."""
    manifest = DOMAIN.recognise(journal.data)
    lost, kept = lost_and_kept(manifest)
    for name, frames in (("lost.csv", lost), ("kept.csv", kept)):
        write_table(out / name, frames, manifest.root)
    until = (datetime.date.today() + KEPT).isoformat()
    archive, matches, sheet = out / "index", out / "matches.csv", out / "sheet.png"
    statements = {"purpose": PURPOSE, "legal_basis": BASIS, "retention": until}
    journal.run(
        f"index {run} {out}/kept.csv --out {archive} --purpose {PURPOSE} "
        f"--legal-basis '{BASIS}' --retention {until} --include-images",
        index,
        *(DOMAIN, run, out / "kept.csv", archive),
        **statements,
        include_images=True,
    )
    journal.run(
        f"match {run} --query {out}/lost.csv --gallery {archive} --out {matches} "
        f"--purpose {PURPOSE} -k {RANKS} --false-accept-rate {RATE} --sheet {sheet} "
        "--include-images",
        match,
        *(DOMAIN, run, out / "lost.csv", archive, matches),
        purpose=PURPOSE,
        ranking=Ranking(RANKS),
        false_accept_rate=RATE,
        sheet=sheet,
        include_images=True,
    )
    found = pd.read_csv(matches, dtype={"query_label": str, "label": str}, keep_default_na=False)
    journal.card("Who is it, if anybody?", "sheet.png", _decided(found, set(kept["label"])))


def _show_people(journal: Journal, out: Path) -> None:
    write_people(out / "people.png", DOMAIN.recognise(journal.data))
    readme = (journal.data / "readme.txt").relative_to(out).as_posix()
    text = (
        "A row for each camera, a column for each person: nobody in it is real. A few frames show "
        "somebody else or nobody, as those of detectors do."
    )
    journal.card("Generated people", readme, text, "people.png")
    text = "Tracklets of the other cameras, kept for a purpose and until a day."
    journal.card("Index", "index/README.md", text)


def lost_and_kept(manifest: Manifest) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Frames of a few people by the first camera, and those of the others; some are not there.

    Args:
        manifest: with roles, as MARS has them.

    Returns:
        Of the first `LOST` queries of the first camera, and of the test gallery of all other
        cameras without the last `ABSENT` of these people and without junk.
    """
    test = manifest.table[manifest.table["split"] == "test"]
    first = test["camera"].min()
    asking = test[(test["role"] == "query") & (test["camera"] == first)]
    people = asking["label"].drop_duplicates().head(LOST)
    absent = people.tail(ABSENT)
    others = test[(test["role"] == "gallery") & (test["camera"] != first)]
    there = ~others["label"].isin([*absent, JUNK])
    return asking[asking["label"].isin(people)], others[there]


def write_table(path: Path, frames: pd.DataFrame, root: Path) -> None:
    """Write frames as a table that every command reads, with paths as seen from its folder."""
    start = path.parent.resolve()
    paths = [(root / name).resolve().relative_to(start).as_posix() for name in frames["path"]]
    columns = ["path", "label", "camera", "tracklet", "frame"]
    with atomic_path(path) as temporary:
        table = frames.assign(path=paths)[columns]
        table.to_csv(temporary, index=False, lineterminator="\n")


def _decided(found: pd.DataFrame, there: set[str]) -> str:
    """What the first ranks say of people who are there, and of those who are not."""
    first = found[found["rank"] == 1]
    present = first[first["query_label"].isin(there)]
    right = present[present["label"] == present["query_label"]]
    strangers = first[~first["query_label"].isin(there)]
    return (
        f"People of one camera, looked for in the others, at {100 * RATE:g} % false accepts. "
        f"{len(present)} are there; {len(right)} of them stand first: {_counted(right)}. "
        f"{len(strangers)} are not; who stands first for them: {_counted(strangers)}. "
        "A tick or a cross is the truth."
    )


def _counted(rows: pd.DataFrame) -> str:
    """`3 called same, 1 unknown`."""
    counts = rows["decision"].value_counts()
    said = [
        f"{counts[name]} called {name}" for name in (SAME, UNKNOWN, DIFFERENT) if name in counts
    ]
    return ", ".join(said) or "nobody"


def _told(open_set: dict[str, Any]) -> str:
    """What the thresholds do on test people."""
    verdicts = open_set["verdicts"]
    if "reason" in verdicts:
        return f"Every pair is unknown: {verdicts['reason']}."
    share = {name: f"{100 * rate['value']:.1f} %" for name, rate in verdicts["rates"].items()}
    return (
        f"Thresholds of validation people, at {100 * verdicts['false_accept_rate']:g} % false "
        f"accepts. Of pairs of test people, {share['impostor_same']} of two people are called the "
        f"same; of one person {share['genuine_same']} are, {share['genuine_unknown']} are unknown."
    )
