"""The same work on many items, spread over the machine's cores where that is worth starting processes for."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

_LEAST = 200  # items below which starting other processes takes longer than the work


def spread(work: Callable[[Item], Made], items: Sequence[Item], *, workers: int | None = None) -> Iterator[Made]:
    """`work` on each item, in their order; `work` and the items must be picklable.

    Stays in this process for few items, for a single worker, and where a process may not have children.
    """
    workers = workers or min(4, os.cpu_count() or 1)
    if workers < 2 or len(items) < _LEAST or multiprocessing.current_process().daemon:
        yield from map(work, items)
        return
    from concurrent.futures import ProcessPoolExecutor

    # not forked: the caller may have threads, whose locks a fork would copy in whatever state they are
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        yield from pool.map(work, items, chunksize=32)


def _end_with_parent() -> None:
    """End this worker as soon as its parent is gone, even by SIGKILL: it must not write on without the lock."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
