"""Seeded choices that come out the same on every machine and every version of Python.

Only `random.Random.random()` is used below: it is the one method whose sequence for a seed Python guarantees,
and the bundled sample must come out the same to the byte wherever it is remade.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """A source of seeded choices; `fork` gives independent ones, so that one part can change alone."""

    def __init__(self, *seed: object):
        self._seed = seed
        self._random = random.Random("\x1f".join(map(str, seed))).random  # noqa: S311

    def fork(self, *name: object) -> Dice:
        """Another source, decided by this one's seed and a name."""
        return Dice(*self._seed, *name)

    def chance(self, probability: float) -> bool:
        """True with this probability, 0 to 1."""
        return self._random() < probability

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self._random() * (high - low + 1))

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[int(self._random() * len(items))]

    def weighted(self, weights: dict[T, float]) -> T:
        """A key, with a probability in proportion to its weight."""
        point = self._random() * sum(weights.values())
        for item, weight in weights.items():
            point -= weight
            if point < 0:
                return item
        return next(reversed(weights))

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """All the items in a random order."""
        mixed = list(items)
        for last in range(len(mixed) - 1, 0, -1):
            other = int(self._random() * (last + 1))
            mixed[last], mixed[other] = mixed[other], mixed[last]
        return mixed

    def some(self, items: Iterable[T], count: int) -> list[T]:
        """So many of the items (all, where there are fewer), in the order given."""
        numbered = list(enumerate(items))
        return [item for _, item in sorted(self.shuffled(numbered)[:count], key=lambda pair: pair[0])]
