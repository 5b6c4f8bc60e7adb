"""Work ahead in threads, without running away: order kept, memory bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from likeness.errors import require

T = TypeVar("T")
R = TypeVar("R")


def prefetched(
    items: Iterable[T], work: Callable[[T], R], *, threads: int, ahead: int | None = None
) -> Iterator[R]:
    """`map(work, items)` with `threads` threads at most `ahead` items in front of the reader.

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
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        waiting: deque[Future[R]] = deque(pool.submit(work, item) for item in islice(stream, ahead))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(stream, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
