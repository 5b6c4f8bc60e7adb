"""Whether a data set was drawn by `sample`: then it shows nothing real and carries no terms."""

from __future__ import annotations

from pathlib import Path

TERMS = "generated data, free of terms"
README = "readme.txt"
_FIRST_WORDS = "Generated data:"


def is_generated(root: Path) -> bool:
    """Whether the readme that `sample` writes lies in a data set's root or in the folder above."""
    return any(_says_so(folder / README) for folder in (root, root.parent))


def _says_so(readme: Path) -> bool:
    try:
        with readme.open(encoding="utf-8", errors="replace") as lines:
            return lines.readline().startswith(_FIRST_WORDS)
    except OSError:
        return False
