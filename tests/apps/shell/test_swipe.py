"""The page that wipes one picture over another; H, W height and width."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likeness.errors import UserError
from likeness_apps.shell.report.swipe import LegendRow, write_swipe


def _page(tmp_path: Path, **options: object) -> str:
    below = np.full((40, 60, 3), 30, np.uint8)
    above = np.full((40, 60, 3), 200, np.uint8)
    legend = [LegendRow("forest & <wood>", "#1d6b72", 0.25), LegendRow("water", "#0044cc", 0.75)]
    path = tmp_path / "map.html"
    write_swipe(path, below, above, title="A map", legend=legend, **options)  # type: ignore[arg-type]
    return path.read_text(encoding="utf-8")


def test_both_pictures_are_inside_at_their_size(tmp_path: Path) -> None:
    texts = re.findall(r'src="data:image/webp;base64,([^"]+)"', _page(tmp_path))
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in texts]
    assert [picture.shape for picture in pictures] == [(40, 60, 3), (40, 60, 3)]
    assert [round(float(picture.mean()) / 10) for picture in pictures] == [3, 20]


def test_the_legend_is_escaped_and_in_per_cent(tmp_path: Path) -> None:
    page = _page(tmp_path)
    assert "forest &amp; &lt;wood&gt;" in page
    assert "25.0 %" in page
    assert 'fill="#0044cc"' in page


def test_the_policy_lets_in_this_script_and_nothing_else(tmp_path: Path) -> None:
    page = _page(tmp_path)
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html.unescape(page)
    assert "http://" not in page
    assert "https://" not in page
    assert 'style="' not in page


def test_generated_data_is_called_so(tmp_path: Path) -> None:
    assert "generated data" in _page(tmp_path, generated=True)
    assert "generated data" not in _page(tmp_path)


def test_pictures_of_two_sizes_are_refused(tmp_path: Path) -> None:
    small, large = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(UserError, match="pictures must be of one height and width"):
        write_swipe(tmp_path / "x.html", small, large, title="")
    assert not (tmp_path / "x.html").exists()
