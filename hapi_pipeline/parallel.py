"""The same work on many items, spread over the machine's cores where that is worth starting processes for."""

from __future__ import annotations

import atexit
import functools
import itertools
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

Item = TypeVar("Item")
Made = TypeVar("Made")

_LEAST = 200  # items below which starting other processes takes longer than the work
_PIECE = 32  # items that are handed over together


def cores() -> int:
    """Cores that this process may use: HAPI_CORES, as in the workers of an engine, or all of the machine."""
    return int(os.environ.get("HAPI_CORES") or os.cpu_count() or 1)


def spread(work: Callable[[Item], Made], items: Sequence[Item], *, workers: int | None = None) -> Iterator[Made]:
    """`work` on each item, in their order; `work` and the items must be picklable.

    Stays in this process for few items, for a single worker, and where a process may not have children.
    """
    workers = workers or min(4, cores())
    if workers < 2 or len(items) < _LEAST or multiprocessing.current_process().daemon:
        yield from map(work, items)
        return
    pieces = (list(items[at : at + _PIECE]) for at in range(0, len(items), _PIECE))
    for made in _in_processes(functools.partial(_each, work), pieces, workers):
        yield from made


def _each(work: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    return list(map(work, items))


def spread_stream(
    work: Callable[[Item], Made], items: Iterable[Item], *, workers: int | None = None, least: int = 2
) -> Iterator[Made]:
    """`work` on each of any number of large items, in their order; only a few of them are in memory at a time.

    Stays in this process for fewer items than `least`, for a single worker, and where a process may not have children.
    Where fetching an item raises, the items before it are done first.
    """
    failed: list[Exception] = []

    def fetched() -> Iterator[Item]:
        try:
            yield from items
        except Exception as error:
            failed.append(error)

    workers = workers or min(4, cores())
    iterator = fetched()
    first = list(itertools.islice(iterator, least))
    every = itertools.chain(first, iterator)
    if workers < 2 or len(first) < least or multiprocessing.current_process().daemon:
        yield from map(work, every)
    else:
        yield from _in_processes(work, every, workers)
    if failed:
        raise failed[0]


def _in_processes(work: Callable[[Item], Made], items: Iterable[Item], workers: int) -> Iterator[Made]:
    from concurrent.futures import Future
    from concurrent.futures.process import BrokenProcessPool

    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(_pool(workers).submit(work, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        _pool.cache_clear()  # a worker died; the next call gets new ones
        raise
    finally:
        for future in waiting:
            future.cancel()


@functools.cache
def _pool(workers: int) -> ProcessPoolExecutor:
    """Workers that stay until this process ends: what they have imported and compiled serves the next partition too."""
    from concurrent.futures import ProcessPoolExecutor

    # not forked: the caller may have threads, whose locks a fork would copy in whatever state they are
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    atexit.register(pool.shutdown, cancel_futures=True)
    return pool


def in_threads(work: Callable[[Item], Made], items: Iterable[Item], at_once: int) -> Iterator[Made]:
    """`work` on each item, in their order, so many at once: for work that SQL and files do, not the interpreter."""
    from concurrent.futures import ThreadPoolExecutor

    if at_once < 2:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(work, items)


def ahead(items: Iterable[Item], most: int = 4) -> Iterator[Item]:
    """The same items in their order, fetched in another thread while the ones before are being worked on.

    At most `most` are fetched ahead. What fetching raises is raised here.
    """
    from concurrent.futures import ThreadPoolExecutor

    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1) as reader:
        waiting = deque(reader.submit(next, iterator, end) for _ in range(most))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(reader.submit(next, iterator, end))
            yield cast("Item", item)


def _end_with_parent() -> None:
    """End this worker as soon as its parent is gone, even by SIGKILL: it must not write on without the lock."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
