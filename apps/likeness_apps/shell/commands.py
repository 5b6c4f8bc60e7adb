"""How every command ends: one sentence and exit code 2 for a user's mistake, no traceback."""

from __future__ import annotations

import errno
import functools
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

DEBUG = "LIKENESS_DEBUG"  # set by `likeness --debug`: shows the traceback of a user's mistake
STOPPED = (
    "Stopped; what was finished is kept: train and distill go on with --resume; benchmarks, and "
    "the long commands that keep a work folder beside their output (its name ends in .parts), go "
    "on when the same command is called again."
)
USER_MISTAKES = ("UserError", "DecodeError")
# A stop that reaches the whole group of processes may end a worker first, and torch then says so.
TERMINATED = "killed by signal: Terminated"
# What the place of a file can be guilty of; a broken pipe and the like are none of them.
PLACES = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS),
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
)


def command(body: Callable[P, R]) -> Callable[P, R]:
    """Turn what a user can mend into one line on stderr and exit code 2; a stop into 130."""

    @functools.wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return body(*args, **kwargs)
        except ValueError as error:
            # UserError is a ValueError; importing its module here would slow `--help` for nothing.
            if os.environ.get(DEBUG) or type(error).__name__ not in USER_MISTAKES:
                raise
            raise _refused(str(error)) from None
        except OSError as error:
            if os.environ.get(DEBUG) or error.errno not in PLACES:
                raise
            named = "" if error.filename is None else f", got {error.filename}"
            rule = "files must be in places that can be read and written, with free space"
            raise _refused(f"{rule}{named}: {error.strerror}") from None
        except KeyboardInterrupt:
            raise _stopped() from None
        except RuntimeError as error:
            if TERMINATED not in str(error):
                raise
            raise _stopped() from None

    return run


def _stopped() -> SystemExit:
    print(STOPPED, file=sys.stderr)
    return SystemExit(130)


def _refused(sentence: str) -> SystemExit:
    print(f"Error: {' '.join(sentence.splitlines())}", file=sys.stderr)
    return SystemExit(2)


def settle_process() -> None:
    """What every entry point does first, before torch is imported.

    Threads that wait by spinning take the processor from those that decode: on a busy machine a
    training step then takes ten times as long (measured). And a name may hold characters that the
    terminal cannot show. A scheduler's or container's stop (SIGTERM) then ends as Ctrl-C does, with
    temporary files removed; by itself it would leave them.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if hasattr(os, "register_at_fork"):  # workers die of it silently; Windows forks none
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
