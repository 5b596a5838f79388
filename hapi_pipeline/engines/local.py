"""In this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from hapi_pipeline.parallel import in_threads

Item = TypeVar("Item")
Made = TypeVar("Made")


class Local:
    """Items one after the other, or a few at once in threads."""

    name = "local"

    def each(
        self, work: Callable[[Item], Made], items: Sequence[Item], *, threads: int = 1, in_order: bool = False
    ) -> Iterator[Made]:
        """`work` on each item."""
        return in_threads(work, items, 1 if in_order else threads)
