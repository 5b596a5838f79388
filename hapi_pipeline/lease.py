"""Who may write to a home in an object store: one process at a time, by a lease that ends when it is not renewed.

The lease is one object. It is made, taken over, renewed and given back by conditional writes only, so of two
processes that try one succeeds, and a process whose lease was taken over learns it at its next renewal. How old a lease
is, is told by the clock of the store: no two machines need to agree on the time.

What belongs here: the lease. What does not: the lock of a home on a disk (`operations.py`), which also keeps apart
processes that share a working folder; whoever has that lock may take over a lease of the same folder at once.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from hapi_pipeline.copies import WorkingCopy, clock
from hapi_pipeline.settings import UserError
from hapi_pipeline.store import ChangedError, StoreError

LEASE_VARIABLE = "HAPI_LEASE_SECONDS"
_SECONDS = 120.0  # after so long without a renewal a lease has ended
_RENEWALS = 6  # in that time
_NAME, _CLOCK, _TRY = ".hapi/lease.json", ".hapi/clock", ".hapi/conditional_write"
_WAIT_STEP, _SAY_AGAIN = 2.0, 60.0  # seconds


@contextmanager
def leased(copy: WorkingCopy, who: str, *, wait: float, say: Callable[[str], None] = print) -> Iterator[None]:
    """Keep writers on other machines out of a home while this process works, and its working folder up to date.

    `who` is how this process is told to others; `wait` is how many seconds to wait for another one. The lock on the
    working folder must be held. Raises UserError when another is still at work after that.
    """
    lease = _Lease(copy, who)
    lease.take(wait, say)
    try:
        copy.begin()
        try:
            yield
        finally:
            copy.end()
    finally:
        copy.held = False
        lease.give_back()
        copy.lost, copy.right_ends = None, float("inf")


def holder(copy: WorkingCopy) -> str | None:
    """Who is at work on a home, if anyone is."""
    lease = _Lease(copy, "")
    found = lease.read()
    if found is None:
        return None
    with suppress(StoreError):  # who may only read cannot ask the store for its time
        if lease.is_free(found[0], found[1]):
            return None
    return str(found[0]["who"])


class _Lease:
    """The lease of one home, as one process sees it."""

    def __init__(self, copy: WorkingCopy, who: str):
        self.copy, self.store = copy, copy.store
        self.seconds = float(os.environ.get(LEASE_VARIABLE) or _SECONDS)
        self._mine = {"owner": _identity(copy), "who": f"{who} on {socket.gethostname()}", "free": False}
        self._etag = ""
        self._tried: list[bytes] = []  # what requests said since one was answered: one of them may have been done
        self._end = threading.Event()
        self._renewing: threading.Thread | None = None

    def take(self, wait: float, say: Callable[[str], None]) -> None:
        """Become the holder."""
        began, said = time.monotonic(), float("-inf")
        while (other := self._try()) is not None:
            waited = time.monotonic() - began
            if waited >= wait:
                after = f" after {wait:,.0f} s" if wait else ""
                raise UserError(
                    f"Another hapi command (process {other}) is at work on {self.copy.address}{after}; "
                    "wait for it or stop it."
                )
            if waited - said >= _SAY_AGAIN:
                said = waited
                say(f"Waiting for another that is at work on this home (process {other}), {waited:,.0f} s so far.")
            time.sleep(min(_WAIT_STEP, wait - waited))
        self.copy.lost = None
        self._renewing = threading.Thread(target=self._renew, name="hapi-lease", daemon=True)
        self._renewing.start()

    def _try(self) -> str | None:
        """Take the lease if it is free; else who has it."""
        found = self.read()
        if found is not None and not self.is_free(*found):
            return str(found[0]["who"])
        try:
            if found is None:
                _check_conditional(self.copy)
            self._say(None if found is None else found[1])
        except ChangedError:
            return "unknown"  # who was faster; the next look tells
        return None

    def _say(self, etag: str | None, *, free: bool = False) -> None:
        """Write the lease, over the one with this ETag; None: where there is none. ChangedError: another was faster."""
        began, more = clock(), {"free": free, "seconds": self.seconds, "renewal": uuid.uuid4().hex}
        told = json.dumps({**self._mine, **more}).encode("ascii")  # another text, so another ETag, each time
        self._tried.append(told)
        self._etag = self.store.create(_NAME, told) if etag is None else self.store.exchange(_NAME, told, etag)
        self._tried.clear()
        self.copy.right_ends, self.copy.margin = began + self.seconds, self.seconds / 2

    def read(self) -> tuple[dict[str, Any], str] | None:
        """What the lease says, and its ETag."""
        found = self.store.read(_NAME)
        if found is None:
            return None
        try:
            return dict(json.loads(found[0])), found[1]
        except ValueError:
            raise UserError(f"{self.copy.address}/{_NAME} is damaged; remove it when nobody is at work.") from None

    def is_free(self, said: dict[str, Any], etag: str) -> bool:
        """Whether a lease was given back, is of a dead process of this working folder, or has ended."""
        if said["free"] or said["owner"] == self._mine["owner"]:
            return True
        seen = self.store.head(_NAME)
        if seen is None or seen.etag != etag:
            return False  # it is being renewed
        now = self._now()
        return now is not None and (now - seen.modified).total_seconds() > said["seconds"]

    def _now(self) -> Any:
        """The time by the clock of the store: that of an object that is written now."""
        name = f"{_CLOCK}-{uuid.uuid4().hex}"
        self.store.put(name, b"")
        seen = self.store.head(name)
        self.store.delete([name])
        return seen.modified if seen else None

    def _renew(self) -> None:
        """Until the end: say again that this process is at work. Where that fails for too long, its right has ended."""
        while not self._end.wait(self.seconds / _RENEWALS):
            try:
                self._say(self._etag)
            except ChangedError:
                if self._is_mine_after_all():
                    continue
                self.copy.lose("another process has taken this home over")
                return
            except StoreError:
                continue

    def _is_mine_after_all(self) -> bool:
        """Whether a request before was carried out, and only its answer was lost; then the lease is renewed."""
        with suppress(StoreError):
            if (found := self.store.read(_NAME)) and found[0] in self._tried:
                with suppress(ChangedError):
                    self._say(found[1])
                    return True
        return False

    def give_back(self) -> None:
        """Let others write at once."""
        self._end.set()
        if self._renewing is not None:
            self._renewing.join()
        if self.copy.lost is None:
            with suppress(ChangedError, StoreError):  # then it ends by itself
                self._say(self._etag, free=True)


def _identity(copy: WorkingCopy) -> str:
    """The name of a working folder: the same for all processes that use it, another one on each machine.

    The name of the machine is part of it, for a folder may be copied, but the lock that guards it is not.
    """
    path = copy.folder / ".identity"
    with suppress(FileExistsError), path.open("x") as file:
        file.write(uuid.uuid4().hex)
    return f"{path.read_text('ascii')} on {socket.gethostname()}, {copy.folder}"


def _check_conditional(copy: WorkingCopy) -> None:
    """UserError where the server makes an object that is there already, or replaces one that is another by now."""
    name = f"{_TRY}-{uuid.uuid4().hex}"
    copy.store.put(name, b"1")
    try:
        for write in (partial(copy.store.create, name, b"2"), partial(copy.store.exchange, name, b"3", "0" * 32)):
            with suppress(ChangedError):
                write()
                raise UserError(
                    f"The server of {copy.address} ignores conditional writes (If-None-Match, If-Match), so it could "
                    "not keep two writers apart; use one that has them (docs/object_store.md)."
                )
    finally:
        copy.store.delete([name])
