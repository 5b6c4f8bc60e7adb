"""Work ahead in threads, without running away: order kept, memory bounded."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

from likeness.errors import require

T = TypeVar("T")
R = TypeVar("R")


def prefetched(
    items: Iterable[T], work: Callable[[T], R], *, threads: int, ahead: int | None = None
) -> Iterator[R]:
    """`map(work, items)` with `threads` threads at most `ahead` items in front of the reader.

    Where torch is loaded, `work` computes with one thread of torch's: its pools on top of these
    threads would outnumber the cores.

    Args:
        items: read lazily, in the reader's thread.
        work: thread-safe, best one that releases the GIL (decoding does); what it raises is
            raised at its item's turn.
        threads: >= 1.
        ahead: items that are finished or under way, >= 1; None is four a thread.

    Yields:
        The results in the order of the items. Closing the generator drops what has not begun.

    Raises:
        UserError: if `threads` or `ahead` is below 1.
    """
    require(threads >= 1, "threads", ">= 1", threads)
    ahead = 4 * threads if ahead is None else ahead
    require(ahead >= 1, "ahead", ">= 1", ahead)
    stream = iter(items)
    torch: Any = sys.modules.get("torch")
    own = torch.get_num_threads() if torch else 1
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode", initializer=_compute_alone)
    try:
        waiting: deque[Future[R]] = deque(pool.submit(work, item) for item in islice(stream, ahead))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(stream, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if torch:  # what a thread sets is also what threads that start later begin with
            torch.set_num_threads(own)


def _compute_alone() -> None:
    torch: Any = sys.modules.get("torch")
    if torch:
        torch.set_num_threads(1)
