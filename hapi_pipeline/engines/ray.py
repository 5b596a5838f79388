"""On Ray: each item is a task with a core of its own; a task whose process dies is begun again by Ray.

The cluster is the one that RAY_ADDRESS names, or one on this machine that is started for this process and ends with it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from hapi_pipeline.engines import TRIES, alone, opened

Item = TypeVar("Item")
Made = TypeVar("Made")

_OBJECTS = 500 << 20
"""Bytes of shared memory for what tasks hand over: file names and counts, never rows. Ray would take a third of all."""
_AHEAD = 4
"""Tasks that are handed over for each core at a time: the scheduler need not hold all partitions of a table."""


class Ray:
    """Tasks on a Ray cluster, which is started when it is first needed."""

    name = "ray"

    def __init__(self, workers: int | None = None):
        self.workers = workers or os.cpu_count() or 1

    def each(
        self, work: Callable[[Item], Made], items: Sequence[Item], *, threads: int = 1, in_order: bool = False
    ) -> Iterator[Made]:
        """`work` on each item."""
        if not items:
            return
        ray = self._started()
        task = ray.remote(num_cpus=1, max_retries=TRIES - 1)(alone)
        shared = ray.put(work)
        most = 0 if in_order else _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting: deque[Any] = deque()
        try:
            for item in items:
                waiting.append(task.remote(shared, item))
                if len(waiting) > most:
                    yield opened(ray.get(waiting.popleft()))
            while waiting:
                yield opened(ray.get(waiting.popleft()))
        finally:
            for left in waiting:
                ray.cancel(left)

    def _started(self) -> Any:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before it is imported: it would tell its makers
        import ray

        if not ray.is_initialized():
            here = {} if os.environ.get("RAY_ADDRESS") else self._of_this_machine()
            ray.init(configure_logging=False, log_to_driver=False, **here)
        return ray

    def _of_this_machine(self) -> dict[str, Any]:
        return {
            "address": "local",
            "num_cpus": self.workers,
            "object_store_memory": _OBJECTS,
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",  # nobody else has any business there
        }
