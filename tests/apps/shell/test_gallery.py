"""The gallery: links stay beside it, pictures lose their metadata, everything is escaped."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from likeness.errors import UserError
from likeness_apps.shell.report.gallery import Command, GalleryItem, duration, write_gallery


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def written(tmp_path, *items, **options):
    write_gallery(tmp_path / "gallery.html", items, **options)
    return Page((tmp_path / "gallery.html").read_text(encoding="utf-8"))


def test_cards_link_and_commands_are_listed(tmp_path):
    page = written(
        tmp_path,
        GalleryItem("Report", "eval/report.html", "All figures.", generated=True),
        GalleryItem("Index", "my index/rows #1.parquet"),
        commands=[Command("likeness a", 3.25), Command("likeness b <x>", 62)],
    )
    links = [attrs["href"] for tag, attrs in page.elements if tag == "a"]
    assert links == ["eval/report.html", "my%20index/rows%20%231.parquet"]
    words = " ".join(page.words)
    for said in ("generated data", "likeness b <x>", "3.2 s", "1 min 02 s", "1 min 05 s"):
        assert said in words
    assert words.count("generated data") == 1


def test_nothing_is_loaded_and_everything_escaped(tmp_path):
    evil = '"><script>alert(1)</script>'
    page = written(tmp_path, GalleryItem(evil, "a", evil), title=evil, text=evil)
    assert not [tag for tag, _ in page.elements if tag == "script"]
    assert all(tag not in {"link", "iframe", "img"} for tag, _ in page.elements)
    policy = next(a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy


@pytest.mark.parametrize(
    "href", ["https://x.org/", "//x.org/a", "/etc/passwd", "javascript:alert(1)", "a\\b", ""]
)
def test_a_link_must_be_relative(tmp_path, href):
    with pytest.raises(UserError, match="href must be a relative path with /"):
        written(tmp_path, GalleryItem("x", href))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_gallery_is_refused(tmp_path):
    with pytest.raises(UserError, match="items must be at least one, got 0"):
        written(tmp_path)


def test_pictures_are_shrunk_and_stripped(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "somebody's name"
    Image.new("RGB", (1800, 900), "teal").save(tmp_path / "x.jpg", exif=exif)
    array = np.full((40, 30, 3), 200, dtype=np.uint8)
    page = written(
        tmp_path,
        GalleryItem("a", "x.jpg", picture=tmp_path / "x.jpg"),
        GalleryItem("b", "y", picture=array),
    )
    uris = [attrs["src"] for tag, attrs in page.elements if tag == "img"]
    bodies = [base64.b64decode(uri.removeprefix("data:image/webp;base64,")) for uri in uris]
    assert [Image.open(io.BytesIO(body)).size for body in bodies] == [(720, 360), (30, 40)]
    assert all(b"somebody" not in body and b"EXIF" not in body for body in bodies)


def test_the_same_input_gives_the_same_bytes(tmp_path):
    item = GalleryItem("a", "b", picture=np.zeros((9, 9, 3), dtype=np.uint8))
    for name in ("a.html", "b.html"):
        write_gallery(tmp_path / name, [item])
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"),
        (185, "3 min 05 s"), (3599.7, "1 h 00 min"), (7260, "2 h 01 min"),
    ],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text
