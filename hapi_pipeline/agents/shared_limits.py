"""The limits of a provider pool, kept by the workers of a backfill together.

Calls at once are files, each locked for as long as a call lasts, so that a killed worker gives its own back. Rates are
a moment in a file: when all that has been taken is worked off, by the clock, on which machines have to agree to within
a fraction of a second. A pause while a provider fails is each worker's own.
"""

from __future__ import annotations

import asyncio
import math
import os
import struct
import time
import weakref
from pathlib import Path

from hapi_pipeline import locks
from hapi_pipeline.agents.pools import BURST_SECONDS, Limits, Rate
from hapi_pipeline.naming import slug
from hapi_pipeline.registry import Pool
from hapi_pipeline.workers import Crew

_LOOK = 0.02  # seconds between two looks for a free slot


def shared_limits(crew: Crew, pool: Pool) -> Limits:
    """The limits of a pool among all workers of a crew."""
    folder = crew.folder / "pools" / slug(pool.name)
    return Limits(
        SharedSlots(folder, pool.concurrency, crew),
        SharedRate(folder / "requests", pool.requests_per_minute),
        SharedRate(folder / "tokens", pool.tokens_per_minute, BURST_SECONDS),
    )


class SharedSlots:
    """So many calls at once, in all processes together; of these each may have its share."""

    def __init__(self, folder: Path, count: int, crew: Crew):
        self._count, self._crew = count, crew
        self._free = [locks.opened(folder / f"slot-{number}") for number in range(count)]
        self._held: list[int] = []
        weakref.finalize(self, _close, self._free)
        self._looking = asyncio.Lock()
        self._turn = asyncio.Semaphore(count)  # calls of this process wait in the order in which they came

    async def acquire(self) -> None:
        """Wait for a slot."""
        await self._turn.acquire()
        try:
            async with self._looking:  # one call looks for all that wait
                while not self._take():  # noqa: ASYNC110  (what is waited for happens in other processes)
                    await asyncio.sleep(_LOOK)
        except BaseException:
            self._turn.release()
            raise

    def release(self) -> None:
        """Give a slot back."""
        file = self._held.pop()
        locks.let_go(file)
        self._free.append(file)
        self._turn.release()

    def _take(self) -> bool:
        if len(self._held) >= math.ceil(self._count / self._crew.size()):
            return False
        for file in self._free:
            if locks.take(file):
                self._free.remove(file)
                self._held.append(file)
                return True
        return False


class SharedRate(Rate):
    """A rate of all processes together."""

    def __init__(self, path: Path, per_minute: float | None, burst_seconds: float = 0.0):
        super().__init__(per_minute, burst_seconds)
        self._file = locks.opened(path)
        weakref.finalize(self, os.close, self._file)

    def take(self, amount: float, now: float) -> float:
        """As Rate, but by the clock instead of the moment given: other machines count from another one."""
        with locks.held(self._file):
            self._read()
            wait = super().take(amount, time.time())
            self._write()
        return wait

    def correct(self, amount: float) -> None:
        """As Rate."""
        with locks.held(self._file):
            self._read()
            super().correct(amount)
            self._write()

    def _read(self) -> None:
        data = os.pread(self._file, 8, 0)
        self._free_at = struct.unpack("<d", data)[0] if len(data) == 8 else 0.0

    def _write(self) -> None:
        os.pwrite(self._file, struct.pack("<d", self._free_at), 0)


def _close(files: list[int]) -> None:
    for file in files:
        os.close(file)
