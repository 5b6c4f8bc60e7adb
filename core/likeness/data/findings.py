"""What is wrong with a set of images, file by file, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Literal

import pandas as pd

Level = Literal["error", "warning"]
COLUMNS = ("level", "code", "path", "message", "advice")


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know before training.

    Attributes:
        level: an error makes `inspect` exit 1; a warning is only told.
        code: the kind, in kebab-case; the same kind always has the same code.
        path: the file or folder it is about, as the table has it; for what was left out, relative
            to the folder that was given; "" = the whole set.
        message: what is the case.
        advice: what to do about it.
    """

    level: Level
    code: str
    path: str
    message: str
    advice: str

    def line(self) -> str:
        """For a person: `error: a/b.tif: the file is empty (replace or remove it)`."""
        where = f"{self.path}: " if self.path else ""
        return f"{self.level}: {where}{self.message} ({self.advice})"


def sort_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then by code, path and message."""
    return tuple(sorted(findings, key=lambda f: (f.level != "error", f.code, f.path, f.message)))


def findings_table(findings: Iterable[Finding]) -> pd.DataFrame:
    """One row per finding, in their order; the columns are `COLUMNS`, also without any row."""
    rows = [astuple(finding) for finding in findings]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(COLUMNS, str))


def condense(findings: Iterable[Finding], limit: int = 10) -> tuple[Finding, ...]:
    """Keep at most `limit` findings of each code, for a screen; a last one counts the rest.

    Args:
        findings: any findings.
        limit: how many of one code are kept, >= 1.

    Returns:
        Sorted findings; where some were left out, one more of that level and code says how many.
    """
    kept: list[Finding] = []
    seen: Counter[tuple[Level, str]] = Counter()
    for finding in sort_findings(findings):
        seen[finding.level, finding.code] += 1
        if seen[finding.level, finding.code] <= limit:
            kept.append(finding)
    for (level, code), count in seen.items():
        if count > limit:
            kept.append(
                Finding(level, code, "", f"{count - limit} more of this kind", "see findings.csv")
            )
    # Sorting by kind is stable, so each count follows the findings it belongs to.
    return tuple(sorted(kept, key=lambda f: (f.level != "error", f.code)))
