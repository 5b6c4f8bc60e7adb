"""`reproduce`: a paper's run on its data, and our figures beside the published ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from likeness.data.manifest import Manifest
from likeness.errors import UserError, require
from likeness.files import write_json, write_text
from likeness.provenance import collect_provenance
from likeness_apps.papers.spec import NONE_READABLE, PaperSpec, load_paper
from likeness_apps.shell.console import figure as shown
from likeness_apps.shell.console import say, show_table
from likeness_apps.shell.outputs import require_new

REQUEST, RESULT = "request.json", "reproduced.json"


@dataclass(frozen=True, eq=False)
class Request:
    """What was asked for.

    Attributes:
        name: of the paper.
        paper: its file, with the changes.
        data: the set.
        out: where everything goes.
        changes: what the person set; figures then are not those of the paper's settings.
        quiet: no progress, no table.
    """

    name: str
    paper: PaperSpec
    data: Path
    out: Path
    changes: tuple[str, ...]
    quiet: bool


def reproduce(
    name: str, data: Path, out: Path, *, changes: Sequence[str] = (), quiet: bool = False
) -> dict[str, Any]:
    """Run a paper, or go on with it, and print ours beside theirs.

    Args:
        name: of the paper.
        data: the set that it measured, as downloaded.
        out: a new directory, or one in which it was stopped.
        changes: `a.b=c` items of its run.
        quiet: no progress, no table.

    Returns:
        What is written to reproduced.json: both figures, and what ours rest on.

    Raises:
        UserError: for an unknown paper, a set that the paper did not measure, or one that is not
            whole.
    """
    asked = Request(name, load_paper(name, changes), data, out, tuple(changes), quiet)
    manifest = _recognised(asked)
    _require_its_set(asked, manifest)
    asked = replace(asked, paper=load_paper(name, changes, layout=manifest.layout))
    _begin(asked)
    match asked.paper.runner:
        case "zero-shot":
            ours = _zero_shot(asked, manifest)
        case "cross-modal":
            ours = _cross_modal(asked)
        case "low-shot":
            ours = _low_shot(asked)
        case _:
            ours = _application(asked)
    result = {
        "paper": asked.paper.paper,
        "layout": manifest.layout,
        "settings": asked.paper.settings,
        "ours_in_it": asked.paper.ours,
        "changes": list(changes),
        "figures": _beside(asked.paper, manifest.layout, ours),
        "ours": ours,
        "provenance": collect_provenance(seed=asked.paper.run.seed, data_hash=manifest.layout),
    }
    write_json(out / RESULT, result)
    _show(asked, result)
    return result


def _recognised(asked: Request) -> Manifest:
    if asked.paper.runner in ("zero-shot", "low-shot"):
        from likeness_apps.benchmark.layouts import recognise

        return recognise(asked.data)
    if asked.paper.runner == "cross-modal":
        from likeness_apps.benchmark.cross_modal.layouts import LOOKED_FOR, find

        found = find(asked.data, None) if asked.data.is_dir() else None
        if found is None:
            raise UserError(f"data must be {LOOKED_FOR}, got {asked.data}")
        return found
    from likeness_apps.demo import domains

    return domains()[asked.paper.app].recognise(asked.data)


def _require_its_set(asked: Request, manifest: Manifest) -> None:
    """Figures are compared on the very set of the paper, and on all of it."""
    rule = f"one of the sets of {asked.name}, in the layout {' or '.join(asked.paper.layouts)}"
    require(manifest.layout in asked.paper.layouts, "data", rule, manifest.layout)
    broken = [item for item in manifest.findings if item.level == "error"]
    got = f"{len(broken)} errors, the first: {broken[0].line()}" if broken else ""
    require(not broken, "data", "as published, every list and image of it", got)


def _begin(asked: Request) -> None:
    """A new directory, or the one of the same request."""
    run = asked.paper.run.model_dump(mode="json")
    wanted = {"paper": asked.name, "data": str(asked.data.absolute()), "run": run}
    path = asked.out / REQUEST
    if path.is_file():
        same = json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(wanted))
        require(same, "out", "a new directory, or one of this very request", str(asked.out))
        return
    require_new(asked.out, "a new directory, or one in which this paper was stopped")
    write_json(path, wanted)
    write_text(asked.out / "config.yaml", yaml.safe_dump(run, sort_keys=False))


# --- runners --------------------------------------------------------------------------------------


def _zero_shot(asked: Request, manifest: Manifest) -> dict[str, Any]:
    """Train on the set's training classes, search the others; figures with intervals over these."""
    from likeness_apps.benchmark.protocol import CLUSTERS, divided
    from likeness_apps.benchmark.table import figures_over
    from likeness_apps.benchmark.training import asked as answers
    from likeness_apps.benchmark.training import build, readable, taught, train

    parted = divided(readable(manifest, quiet=asked.quiet), 0)
    teacher_NT = None
    if asked.paper.teacher is not None:
        teacher = build(asked.paper.teacher, parted, quiet=asked.quiet)
        train(teacher, asked.out / "teacher", quiet=asked.quiet)
        teacher_NT = taught(teacher)
    setup = build(asked.paper.run, parted, changes=asked.changes, quiet=asked.quiet)
    train(setup, asked.out / "run", teacher_NT=teacher_NT, quiet=asked.quiet)
    found = answers(setup)
    return {**figures_over([found.queries], shared=True), CLUSTERS: {"value": found.values["nmi"]}}


def _cross_modal(asked: Request) -> dict[str, Any]:
    """Sketches ask for photographs of unseen classes, as `benchmark cross-modal` measures it."""
    from likeness_apps.benchmark.cross_modal.run import Request as Asking
    from likeness_apps.benchmark.cross_modal.run import cross_modal

    method, place = asked.paper.method, asked.out / "result"
    config = str(asked.out / "config.yaml")
    failed = cross_modal(Asking(asked.data, place, (method,), config=config, quiet=asked.quiet))
    require(not failed, "run", "one that ends", f"a failure, see {place / 'runs.csv'}")
    found = json.loads((place / "summary.json").read_text(encoding="utf-8"))
    return dict(found["methods"][method])


def _low_shot(asked: Request) -> dict[str, Any]:
    """Novel classes from a few images, as `benchmark low-shot` measures them."""
    from likeness_apps.benchmark.low_shot.run import Request as Asking
    from likeness_apps.benchmark.low_shot.run import low_shot

    place, shots = asked.out / "result", asked.paper.shots
    config = str(asked.out / "config.yaml")
    failed = low_shot(Asking(asked.data, place, shots=shots, config=config, quiet=asked.quiet))
    require(not failed, "run", "one that ends", f"a failure, see {place / 'runs.csv'}")
    found = json.loads((place / "summary.json").read_text(encoding="utf-8"))
    return dict(found["methods"])


def _application(asked: Request) -> dict[str, Any]:
    """The application's own `train` and `evaluate`, as a person would type them."""
    app, out = asked.paper.app, asked.out
    metrics = out / "result" / "metrics.json"
    if not metrics.is_file():
        config = ("--config", out / "config.yaml", "--out", out / "run", "--resume")
        _call(app, "train", asked.data, *config, *(["--quiet"] if asked.quiet else []))
        shutil.rmtree(out / "result", ignore_errors=True)  # of an evaluation that was cut off
        words = (out / "run", asked.data, "--out", out / "result", *asked.paper.evaluate)
        _call(app, "evaluate", *words, "--quiet")
    found: dict[str, Any] = json.loads(metrics.read_text(encoding="utf-8"))
    return found


def _call(*words: object) -> None:
    """`likeness WORDS` in this process; a mistake ends it as usual."""
    import typer

    from likeness_apps.cli import app

    typer.main.get_command(app).main([str(word) for word in words], standalone_mode=False)


# --- ours beside theirs ---------------------------------------------------------------------------


def _beside(paper: PaperSpec, layout: str, ours: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every published figure of the set with ours; ours is None where it was not measured."""
    rows = []
    for one in paper.figures(layout):
        network = one.network or "as in run.model"
        row = {"measure": one.measure, "theirs": one.value, "source": one.source}
        rows.append(row | {"network": network, "ours": _at(ours, one.measure)})
    return rows


def _at(figures: Mapping[str, Any], measure: str) -> dict[str, Any] | None:
    """The figure at `a.b.c`; the whole name may be a key, too."""
    found: Any = figures.get(measure)
    if found is None:
        found = figures
        for part in measure.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, dict) and "value" in found else None


def _show(asked: Request, result: Mapping[str, Any]) -> None:
    paper, quiet = asked.paper, asked.quiet
    rows = [
        (
            *(one["measure"], f"{one['theirs']:.3f}"),
            *(shown(one["ours"]) if one["ours"] else "not measured", one["network"]),
            one["source"],
        )
        for one in result["figures"]
    ]
    if not rows:
        told = [(name, value) for name, value in result["ours"].items() if _is_figure(value)]
        rows = [(name, NONE_READABLE, shown(value), "", "") for name, value in told]
    heads = ("measure", "theirs", "ours [95 % interval]", "their network", "source")
    show_table(f"{paper.paper} ({result['layout']})", heads, rows, quiet=quiet)
    changed = f"; changed here: {', '.join(asked.changes)}" if asked.changes else ""
    say(f"Settings: {paper.settings}. Ours: {paper.ours}{changed}", quiet=quiet)
    say(f"{asked.out / RESULT}: both figures and what ours rest on", quiet=quiet)


def _is_figure(value: object) -> bool:
    return isinstance(value, Mapping) and "value" in value
