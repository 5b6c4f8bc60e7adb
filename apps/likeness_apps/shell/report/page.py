"""Templates, assets and the policy of a page that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@cache
def environment() -> Environment:
    """The template environment: everything is escaped, an unknown name is an error."""
    return Environment(
        loader=PackageLoader("likeness_apps.shell.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def section(name: str, **values: Any) -> Markup:
    """The HTML of one section: a macro of sections.html.j2 with its values."""
    module = environment().get_template("sections.html.j2").module
    return Markup(getattr(module, name)(**values))


def asset(name: str) -> str:
    """The text of a style sheet or script that goes into a page."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def csp_hash(text: str) -> str:
    """The hash by which the page's own policy lets one inline block in, and no other."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def embedded_json(value: Any) -> Markup:
    """Compact JSON that cannot end the script element that holds it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)
