"""The same work on many items, spread over the machine's cores where that is worth starting processes for."""

from __future__ import annotations

import multiprocessing
import os
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
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, items, chunksize=32)
