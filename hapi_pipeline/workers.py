"""Several runs at once on one home: the workers of one backfill, each on months of its own.

What workers have to agree on stands in a folder on the disk that they share, under locks of the file system, which end
with a process however it ends: who lives and who has a month (here), what is spent (`spending.py`), and how hard a
provider is pressed (`agents/shared_limits.py`).
"""

from __future__ import annotations

import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hapi_pipeline import locks
from hapi_pipeline.settings import Home, UserError

WORKER_OF = "hapi/worker_of"
"""Tag of a run that shares the home with the other workers of a backfill; its value is the backfill's name."""
_NAME = re.compile(r"[0-9a-z][0-9a-z-]{0,63}")  # it becomes a folder's
_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
_MEMBERS = "members"
_FIRST, _LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
_LOOK, _COUNT = 0.5, 1.0  # seconds between two looks at a month that another has, and at who lives


@dataclass(frozen=True)
class Part:
    """What one worker of a backfill works on."""

    backfill: str
    cohorts: tuple[str, ...]


def part_of(tags: Mapping[str, str]) -> Part | None:
    """The part that a run over a range of partitions has in a backfill; None for one that needs the home to itself.

    Raises UserError for a tag that names no backfill, and for a range of anything but months.
    """
    name, first, last = (tags.get(key, "") for key in (WORKER_OF, _FIRST, _LAST))
    if not (name and first and last):
        return None
    if not _NAME.fullmatch(name):
        raise UserError(f"The tag {WORKER_OF} is {name[:80]!r}: write small letters, digits and hyphens, at most 64.")
    if not all(_MONTH.fullmatch(key.partition("|")[0]) for key in (first, last)):
        raise UserError("A worker's range of partitions does not begin and end with a month.")
    return Part(name, tuple(months(first.partition("|")[0], last.partition("|")[0])))


def months(first: str, last: str) -> list[str]:
    """The months from the first to the last."""
    found = [first]
    while found[-1] < last:
        found.append(next_month(found[-1]))
    return found


def next_month(cohort: str) -> str:
    """The month after."""
    year, month = map(int, cohort.split("-"))
    return f"{year + month // 12}-{month % 12 + 1:02d}"


def folder_of(home: Home, backfill: str) -> Path:
    """Where the workers of a backfill keep what they have to agree on; of all backfills, where it has no name."""
    return home.dagster / "workers" / backfill


@contextmanager
def months_to_oneself(
    home: Home, cohorts: Sequence[str], *, wait: float, say: Callable[[str], None] = print
) -> Iterator[None]:
    """Keep other workers out of these months, waiting so many seconds for those that have them.

    Months are taken in order, so that no two workers wait for each other. Raises UserError after the wait.
    """
    until, files = time.monotonic() + wait, list[int]()
    try:
        for cohort in sorted(cohorts):
            files.append(locks.opened(home.dagster / "workers" / "months" / cohort))
            _wait_for(files[-1], cohort, until, say)
        yield
    finally:
        for file in files:
            os.close(file)


def _wait_for(file: int, cohort: str, until: float, say: Callable[[str], None]) -> None:
    said = False
    while not locks.take(file):
        if time.monotonic() >= until:
            raise UserError(f"Another worker is at work on {cohort}; wait for it or stop it.")
        if not said:
            say(f"Waiting for another worker that is at work on {cohort}.")
            said = True
        time.sleep(_LOOK)


def lives(folder: Path, member: str) -> bool:
    """Whether the process of a member of a crew lives, by its folder."""
    return locks.is_held(folder / _MEMBERS / member)


class Crew:
    """The workers of one backfill, as one of them sees it. A member lives for as long as its process does."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.me = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._file = locks.opened(folder / _MEMBERS / self.me)
        locks.wait_for(self._file)  # another member may be looking whether this one lives
        self._counted, self._size = float("-inf"), 1

    def lives(self, member: str) -> bool:
        """Whether the process of a member lives."""
        return member == self.me or lives(self.folder, member)

    def size(self) -> int:
        """How many members live, as of a second ago at most."""
        if time.monotonic() - self._counted >= _COUNT:
            self._size = sum(self.lives(path.name) for path in (self.folder / _MEMBERS).iterdir())
            self._counted = time.monotonic()
        return max(1, self._size)


_crews: dict[tuple[int, Path], Crew] = {}


def crew_of(home: Home, backfill: str) -> Crew:
    """The crew of a backfill, which this process joins the first time."""
    key = os.getpid(), folder_of(home, backfill)
    if key not in _crews:
        _crews[key] = Crew(key[1])
    return _crews[key]
