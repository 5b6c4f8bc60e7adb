"""`make demo APP=facial-expression`: what is written, linked and said, on fewer faces."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from fixtures.commands import parse
from fixtures.front_door import last_of
from likeness_apps import demo as demos
from likeness_apps.demo import JOURNAL, Journal, demo
from likeness_apps.facial_expression import demo_pictures, demonstration
from likeness_apps.facial_expression.demonstration import OWN, find_variants
from likeness_apps.facial_expression.domain import DOMAIN
from likeness_apps.shell.train import train

PER_CLASS = 24
SMALL = ("workers=0", "model.image_size=32", "sampler.per_class=2", "schedule.warmup_epochs=0")
ROUNDS = ("epochs=2", "subclasses.epochs_per_round=1", "subclasses.min_images=10")


def quick(domain, data, out, *, config, changes, include_images):
    """A run of an epoch or two."""
    more = ROUNDS if config == "demo_subclasses" else ("epochs=1",)
    changes = last_of(*changes, *SMALL, *more)
    train(domain, data, out, config=config, changes=changes, include_images=include_images)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole demo; gives its folder."""
    out = tmp_path_factory.mktemp("demo") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demonstration, "train", quick)
        patch.setattr(demonstration, "QUERIES", 2)
        patch.setattr(demo_pictures, "SCENE", 2)  # frames
        patch.setitem(demos.SIZES, DOMAIN.name, {"per_class": PER_CLASS})
        demo(DOMAIN, out, None)
    return out


def cards(folder: Path) -> dict[str, str]:
    """Title -> text."""
    record = json.loads((folder / JOURNAL).read_text())
    return {title: text for title, _, text, _ in record["cards"]}


def test_the_page_shows_what_was_made(shown):
    text = (shown / "gallery.html").read_text(encoding="utf-8")
    links = re.findall(r'href="([^"#]+)"', text)
    assert links[0] == "subclasses/subclasses.html"
    wanted = {"result/report.html", "run/report.html", "sheet.png", "faces.csv", "talk.csv"}
    assert wanted <= {*links}
    assert all((shown / link).is_file() for link in links)
    assert text.count("data:image/webp") == len(links)
    assert DOMAIN.notice in text
    for name in ("subclasses", "recalls", "sheet", "faces", "talk", "generated"):
        with Image.open(shown / f"{name}.png") as picture:
            assert min(picture.size) > 150


def test_its_commands_can_be_repeated(shown):
    lines = [line for line, _ in json.loads((shown / JOURNAL).read_text())["lines"]]
    verbs = [line.split()[2] for line in lines]
    assert verbs == [
        *("sample", "inspect", "train", "train", "train", "subclasses", "evaluate"),
        *("index", "search", "predict", "video"),
    ]
    for line in lines:
        parse(line)
    assert lines[0].endswith(f"--per-class {PER_CLASS}")
    assert "--set seed=1" in lines[3]
    assert f"--set start={shown}/run" in lines[4]


def test_variants_are_told_as_found(shown):
    facts = json.loads((shown / "subclasses" / "subclasses.json").read_text())
    text = cards(shown)["Sub-classes"]
    assert text.startswith(facts["stability"]["told"])
    assert len(facts["models"]) == 2
    assert facts["trained_with_subclasses"]
    told = text.partition("ARI with what was drawn: ")[2]
    assert {word.split()[0] for word in told.split(", ")} <= {
        "anger", "happiness", "sadness", "surprise"
    }  # fmt: skip


def test_every_test_face_has_the_sub_class_that_it_is_nearest_to(shown):
    table = pd.read_csv(shown / "result" / "predictions.csv")
    facts = json.loads((shown / "subclasses" / "subclasses.json").read_text())
    assert set(table["subclass"]) <= {row["subclass"] for row in facts["subclasses"]}
    report = (shown / "result" / "report.html").read_text(encoding="utf-8")
    assert "Classes and sub-classes" in report


def test_every_drawn_face_is_found_and_nobody_is_a_row(shown):
    rows = pd.read_csv(shown / "faces.csv", keep_default_na=False)
    assert rows["path"].value_counts().to_dict() == {
        "group.png": len(demo_pictures.GROUP),
        "nobody.png": 1,
    }
    assert rows.set_index("path").loc["nobody.png", "status"] == "no_face"
    seen = pd.read_csv(shown / "talk.csv", keep_default_na=False)
    assert seen["frame"].nunique() == 2 * len(demo_pictures.TALK[0])
    assert set(seen["face"].astype(str)) == {"1", "2"}


def test_no_face_of_somebodys_own_set_is_shown(shown, tmp_path, monkeypatch, capsys):
    def copy(domain, data, out, *, config, changes, include_images):
        assert not include_images
        made = {"run": "run", "run-1": "run-1", "variants": "variants"}[out.name]
        shutil.copytree(shown / made, out)

    monkeypatch.setattr(demonstration, "train", copy)
    journal = Journal(DOMAIN.name, shown / "data" / "FERplus_generated", generated=False)
    find_variants(journal, tmp_path)
    assert OWN in capsys.readouterr().out
    verbs = [line.split()[2] for line, _ in journal.lines]
    assert verbs == ["inspect", "train", "train", "train", "subclasses", "evaluate"]
    assert not any("--include-images" in line for line, _ in journal.lines)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"run", "run-1", "variants", "subclasses", "result", "recalls.png"}
    for page in ("subclasses/subclasses.html", "result/report.html"):
        assert "data:image" not in (tmp_path / page).read_text(encoding="utf-8")


def test_recalls_without_votes(tmp_path):
    entry = {"value": 0.5, "count": 4, "low": 0.3, "high": 0.7}
    expression = {"recall": {"anger": entry}, "human": {"reason": "nobody was asked"}}
    demo_pictures.write_recalls(tmp_path / "recalls.png", expression)
    assert (tmp_path / "recalls.png").is_file()
