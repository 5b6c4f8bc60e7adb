"""How every command ends: one sentence and exit code 2 for a user's mistake, no traceback."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

DEBUG = "LIKENESS_DEBUG"  # set by `likeness --debug`: shows the traceback of a user's mistake


def command(body: Callable[P, R]) -> Callable[P, R]:
    """Turn what a user can mend into one line on stderr and exit code 2; Ctrl-C into 130."""

    @functools.wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return body(*args, **kwargs)
        except ValueError as error:
            # UserError is a ValueError; importing its module here would slow `--help` for nothing.
            if os.environ.get(DEBUG) or type(error).__name__ not in USER_MISTAKES:
                raise
            print(f"Error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            print("Stopped; what was finished is kept.", file=sys.stderr)
            raise SystemExit(130) from None

    return run


USER_MISTAKES = ("UserError", "DecodeError")
