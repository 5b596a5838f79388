"""Engines for tests whose workers are processes of their own, on this machine or as if on another one."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from hapi_pipeline import copies
from hapi_pipeline.copies import WorkingCopy, open_copy
from hapi_pipeline.engines import alone, opened


class Machines:
    """Two workers. With a `disk` each is on a machine of its own, which has a folder there and sees no other one's."""

    name = "ray"  # what is asked of an engine is only whether it is this process

    def __init__(self, disk: Path | None = None):
        self.before_results: Callable[[], None] = lambda: None
        spawn = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(2, spawn, _on_a_machine, (disk,))

    def __enter__(self) -> Machines:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def each(
        self, work: Callable[[Any], Any], items: Sequence[Any], *, threads: int = 1, in_order: bool = False
    ) -> Iterator[Any]:
        """`work` on each item."""
        waiting = [] if in_order else [self.pool.submit(alone, work, item) for item in items]
        for number, item in enumerate(items):
            outcome = (self.pool.submit(alone, work, item) if in_order else waiting[number]).result()
            self.before_results()
            yield opened(outcome)


def _on_a_machine(disk: Path | None) -> None:
    if disk is not None:
        os.environ["HAPI_WORK"] = str(disk / f"machine {os.getpid()}")
        copies._opened_here = _of_this_machine


def _of_this_machine(address: str, folder: Path) -> WorkingCopy:
    """The folder of another machine is not here."""
    assert not folder.is_relative_to(os.environ["HAPI_WORK"])
    return open_copy(address)
