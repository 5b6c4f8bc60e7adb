"""The one grammar for a user's mistake: `<name> must be <rule>, got <value>`."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake that the user can mend; the command line prints it as one sentence and exits 2."""


def require(ok: object, name: str, rule: str, got: object) -> None:
    """Raise `UserError("<name> must be <rule>, got <got!r>")` unless `ok` is true.

    Write the condition so that nan fails it: `require(margin >= 0, "margin", ">= 0", margin)`.

    Raises:
        UserError: if `ok` is false.
    """
    if not ok:
        raise UserError(f"{name} must be {rule}, got {got!r}")
