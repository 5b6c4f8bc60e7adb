"""Templates, assets and the policy of a page that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

SHARED = "likeness_apps.shell.report"


@cache
def environment(package: str = SHARED) -> Environment:
    """The template environment: everything is escaped, an unknown name is an error.

    Args:
        package: whose folder `templates` is looked into before the shared one.
    """
    loaders = [PackageLoader(name, "templates") for name in dict.fromkeys((package, SHARED))]
    return Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def section(
    name: str, *, package: str = SHARED, template: str = "sections.html.j2", **values: Any
) -> Markup:
    """The HTML of one section: a macro of a template of `package` with its values."""
    module = environment(package).get_template(template).module
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
