"""What the workers of a backfill may spend together: a journal of what each sets aside and has spent.

A line is written under the journal's lock, after all that others have written has been read, so that the sum is never
out of date when it is decided on. What a worker had set aside when its process was killed counts as spent: the call may
have been billed.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hapi_pipeline import locks
from hapi_pipeline.agents.pools import Budget, CeilingError
from hapi_pipeline.workers import Crew, lives

_LOOK_AGAIN = 0.25  # seconds between two looks at what others have spent, where nothing is decided on


@dataclass
class Sums:
    """What stands in a journal. Money in USD."""

    spent: float = 0.0
    lost: float = 0.0  # of it: set aside by workers that were killed
    made: int = 0  # attempts
    failed: int = 0  # of them: for reasons that are not the model's


class Journal:
    """The file. Lines are JSON objects: `by` a member, `calls` and `aside` more or fewer under way, `cost` spent,
    `lost` of a call whose end nobody knows, `made` and `failed` attempts.
    """

    def __init__(self, path: Path):
        self.sums = Sums()
        self.under_way: dict[str, tuple[int, float]] = {}  # member -> calls, and the most that they can cost
        self._file = locks.opened(path)
        self._read_to = 0
        self._threads = threading.RLock()  # the lock of a file does not keep threads of one process apart

    @contextmanager
    def up_to_date(self) -> Iterator[None]:
        """Keep others out, with all that they have written read."""
        with self._threads, locks.held(self._file):
            self._read_on()
            yield

    def write(self, **line: Any) -> None:
        """Add a line; only within `up_to_date`."""
        data = (json.dumps(line, separators=(",", ":")) + "\n").encode("ascii")
        if os.pwrite(self._file, data, self._read_to) < len(data):  # the disk is full
            os.ftruncate(self._file, self._read_to)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._read_to += len(data)
        self._count(line)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def has_grown(self) -> bool:
        """Whether others have written since this one read."""
        return os.fstat(self._file).st_size > self._read_to

    def count_the_dead(self, lives: Callable[[str], bool]) -> None:
        """Count as spent what members had set aside who live no more; only within `up_to_date`."""
        for member, (calls, aside) in list(self.under_way.items()):
            if calls and not lives(member):
                self.write(by=member, calls=-calls, aside=-aside, cost=aside, lost=aside)

    def _read_on(self) -> None:
        data = os.pread(self._file, max(0, os.fstat(self._file).st_size - self._read_to), self._read_to)
        whole = data.rfind(b"\n") + 1  # what a killed process left of a line is written over
        for line in data[:whole].splitlines():
            self._count(json.loads(line))
        self._read_to += whole
        if whole < len(data):
            os.ftruncate(self._file, self._read_to)

    def _count(self, line: dict[str, Any]) -> None:
        calls, aside = self.under_way.get(line["by"], (0, 0.0))
        calls += line.get("calls", 0)
        self.under_way[line["by"]] = (calls, aside + line.get("aside", 0.0) if calls else 0.0)
        self.sums.spent += line.get("cost", 0.0)
        self.sums.lost += line.get("lost", 0.0)
        self.sums.made += line.get("made", 0)
        self.sums.failed += line.get("failed", 0)


class SharedBudget(Budget):
    """A budget that the workers of a backfill spend from, each in a process of its own."""

    def __init__(self, crew: Crew, max_usd: float | None = None):
        super().__init__(max_usd)
        self._crew = crew
        self._journal = Journal(journal_of(crew.folder))
        self._looked = float("-inf")

    @property
    def spent(self) -> float:
        """What all workers have spent, as of a moment ago."""
        if time.monotonic() - self._looked >= _LOOK_AGAIN:
            self._looked = time.monotonic()
            if self._journal.has_grown():
                with self._journal.up_to_date():
                    pass
        return self._journal.sums.spent

    def spend(self, usd: float) -> None:
        """Count what has been spent without having been set aside."""
        with self._journal.up_to_date():
            self._journal.write(by=self._crew.me, cost=usd)

    def reserve(self, usd: float) -> bool:
        """Set aside what a call costs at most, if it may be made now, beside all calls of all workers."""
        journal = self._journal
        with journal.up_to_date():
            if not self._fits(usd):
                journal.count_the_dead(self._crew.lives)
            if self.max_usd is not None and journal.sums.spent >= self.max_usd:
                raise CeilingError
            if not self._fits(usd):
                return False
            journal.write(by=self._crew.me, calls=1, aside=usd)
        return True

    def settle(self, usd: float, cost: float | None) -> None:
        """A call for which `usd` was set aside has ended and did cost so much."""
        with self._journal.up_to_date():
            self._journal.write(by=self._crew.me, calls=-1, aside=-usd, cost=cost or 0.0)

    def made(self, *, failed: bool) -> None:
        """An attempt has ended; whether for reasons that are not the model's."""
        with self._journal.up_to_date():
            self._journal.write(by=self._crew.me, made=1, failed=int(failed))

    def _fits(self, usd: float) -> bool:
        calls = sum(number for number, _ in self._journal.under_way.values())
        aside = sum(most for _, most in self._journal.under_way.values())
        return self.max_usd is None or not calls or self._journal.sums.spent + aside + usd <= self.max_usd


def journal_of(folder: Path) -> Path:
    """Where the journal of a backfill stands."""
    return folder / "spending.jsonl"


def sums_of(folder: Path) -> Sums:
    """What the workers of a backfill have made and spent so far."""
    journal = Journal(journal_of(folder))
    with closing(journal), journal.up_to_date():
        journal.count_the_dead(lambda member: lives(folder, member))
        return journal.sums
