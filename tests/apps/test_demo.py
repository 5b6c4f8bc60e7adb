"""`make demo`: the page links what was made, and its commands can be repeated."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from fixtures.commands import parse
from fixtures.scenes import save, texture
from likeness.errors import UserError
from likeness_apps import demo as demonstration
from likeness_apps.demo import COSTS, JOURNAL, SIZES, Journal, demo, domains, write_page
from likeness_apps.remote_sensing.demonstration import map_a_scene
from likeness_apps.remote_sensing.domain import DOMAIN


def links(page: Path) -> set[str]:
    return set(re.findall(r'href="([^"#]+)"', page.read_text(encoding="utf-8")))


@pytest.fixture
def already_trained(run: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Training takes no time: the session's run is copied; gives the configurations asked for."""
    asked = []

    def copy(domain: object, data: Path, out: Path, *, config: str, include_images: bool) -> None:
        asked.append(config)
        shutil.copytree(run, out)

    monkeypatch.setattr("likeness_apps.shell.train.train", copy)
    return asked


@pytest.fixture
def shown(scenes: Path, already_trained: list[str], tmp_path: Path) -> SimpleNamespace:
    """The demo of remote sensing on a set of one's own."""
    page = demo(DOMAIN, tmp_path / "demo", scenes)
    return SimpleNamespace(page=page, out=page.parent, asked=already_trained, data=scenes)


def test_all_that_the_page_links_is_there(shown):
    assert shown.asked == ["smoke", "demo"]
    wanted = {"sheet.png", "first-sheet.png", "result/report.html", "run/report.html"}
    assert wanted | {"index/index.json"} == links(shown.page)
    assert all((shown.out / href).is_file() for href in links(shown.page))
    text = shown.page.read_text(encoding="utf-8")
    assert "generated" not in text  # the set is somebody's own
    assert "medical" not in text


def test_the_commands_on_the_page_are_real(shown):
    record = json.loads((shown.out / JOURNAL).read_text())
    lines = [line for line, _ in record["lines"]]
    verbs = [line.split()[2] for line in lines]
    assert verbs == ["train", "index", "search", "train", "index", "search", "evaluate"]
    for line in lines:
        parse(line)
    assert str(shown.data) in lines[0]  # names of scenes may be shown


def test_the_page_is_made_again_from_what_was_kept(shown, capsys):
    before = shown.page.read_text(encoding="utf-8")
    shown.page.unlink()
    demonstration.main(["--out", str(shown.out), "--gallery-only"])
    assert str(shown.page) in capsys.readouterr().out
    assert shown.page.read_text(encoding="utf-8") == before


def test_a_folder_without_a_demo_has_no_page(tmp_path):
    with pytest.raises(UserError, match="out must be a directory that `make demo` has filled"):
        write_page(tmp_path)


def test_nothing_is_overwritten(tmp_path, scenes):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="out must be"):
        demo(DOMAIN, tmp_path, scenes)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_every_application_with_a_demo_says_what_it_costs():
    names = {"facial-expression", "person-reid", "remote-sensing", "skin-lesion"}
    assert set(domains()) == set(COSTS) == names
    assert set(SIZES) <= set(COSTS)


def test_a_scene_is_drawn_for_generated_data_only(tmp_path):
    journal = Journal("remote-sensing", tmp_path, generated=False)
    map_a_scene(journal, tmp_path / "run", tmp_path)
    assert not journal.lines
    assert not list(tmp_path.iterdir())


def test_a_journal_notes_what_it_runs(tmp_path, capsys):
    picture = save(tmp_path / "x y.png", texture(0, 0))
    journal = Journal("remote-sensing", tmp_path, generated=True)
    assert journal.run("double 4", lambda number, by: number * by, 4, by=2) == 8
    ((line, seconds),) = journal.lines
    assert line == "likeness remote-sensing double 4"
    assert seconds >= 0
    assert line in capsys.readouterr().out
    assert journal.shown(picture) == f"'{picture}'"
    hidden = Journal("skin-lesion", tmp_path, generated=False, private=True)
    assert (hidden.shown(), hidden.shown(picture)) == ("DATA", "IMAGE")
