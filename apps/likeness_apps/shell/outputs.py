"""Where results go: nothing that is there is ever overwritten by surprise."""

from __future__ import annotations

from pathlib import Path

from likeness.errors import require


def require_new(out: Path, rule: str = "a new or empty directory") -> None:
    """Refuse a place that holds something.

    Raises:
        UserError: if `out` is a file, or a directory with something in it.
    """
    occupied = out.exists() and (not out.is_dir() or any(out.iterdir()))
    require(not occupied, "out", rule, str(out))
