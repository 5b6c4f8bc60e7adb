"""Purpose, legal basis and retention: what whoever keeps embeddings of people must state."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from likeness.errors import UserError, require


@dataclass(frozen=True)
class Statements:
    """What is written into whatever holds embeddings of people.

    Attributes:
        purpose: what it is for.
        legal_basis: why it may be kept (consent, a law, a contract).
        retention: the last day on which they may be used, YYYY-MM-DD.
    """

    purpose: str
    legal_basis: str
    retention: str

    def facts(self) -> dict[str, str]:
        """As plain data; `require_kept` reads it."""
        return asdict(self)


def stated(purpose: str, legal_basis: str, retention: str) -> Statements:
    """The three statements, checked.

    Raises:
        UserError: if one is missing or the retention is no day in the future.
    """
    given = {"purpose": purpose, "legal-basis": legal_basis, "retention": retention}
    missing = [f"--{name}" for name, text in given.items() if not text.strip()]
    rule = "kept with --purpose, --legal-basis and --retention, because they are biometric data"
    require(not missing, "embeddings of people", rule, f"no {' and no '.join(missing)}")
    day = _day(retention.strip())
    rule = "a date in the future, written YYYY-MM-DD"
    require(day is not None and day > today(), "retention", rule, retention)
    return Statements(purpose.strip(), legal_basis.strip(), retention.strip())


def stated_purpose(purpose: str) -> str:
    """The purpose of one match.

    Raises:
        UserError: if it is missing.
    """
    rule = "stated with --purpose: it goes into the audit record"
    require(purpose.strip(), "match of people", rule, "no --purpose")
    return purpose.strip()


def require_kept(archive: Path, facts: Mapping[str, Any]) -> None:
    """Refuse an index whose retention has ended.

    Raises:
        UserError: saying what to do.
    """
    if is_expired(facts):
        raise UserError(
            f"index must be within its retention, got {archive}, which was to be kept until "
            f"{facts['retention']}: empty it with `likeness person-reid forget INDEX --expired`, "
            "or make a new index of what may still be kept"
        )


def is_expired(facts: Mapping[str, Any]) -> bool:
    """Whether the last day of an index has passed; one without a readable day has expired."""
    day = _day(str(facts.get("retention", "")))
    return day is None or day < today()


def today() -> datetime.date:
    """The day it is here."""
    return datetime.date.today()


def now() -> str:
    """The second it is, in UTC, for audit records."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _day(text: str) -> datetime.date | None:
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        return None
    return day if day.isoformat() == text else None
