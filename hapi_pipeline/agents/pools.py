"""How hard a provider may be pressed: calls at once, rates, a pause while it fails, and what a run may spend.

A gate stands before each provider pool. It is shared by all models of the pool and by all runs of the process, and
lives in the one event loop that makes the calls, so it needs no lock. Where several processes work on one backfill they
share the limits of `shared_limits.py` and the budget of `spending.py` instead of the ones here.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from hapi_pipeline.registry import Pool

_POLL = 0.25  # seconds between two looks at what is waited for
BURST_SECONDS = 5.0
"""Seconds' worth of tokens that may be used at once."""


class StoppedError(Exception):
    """A call was not made and the attempt stays as it is, for a later run.

    `maybe_billed` tries of the call reached the provider and brought no answer.
    """

    maybe_billed = 0


class PoolLeftError(StoppedError):
    """The provider has failed for so long that its pool's attempts are left for the next run."""


class SetAsideError(StoppedError):
    """The call used up its tries while the whole provider failed: the attempt goes on later in this run."""


class CeilingError(StoppedError):
    """The run has spent what it may."""


@dataclass(frozen=True)
class CircuitPolicy:
    """When a pool is paused, and for how long. Times in seconds.

    It is paused when `failures` tries in a row fail, or the `share` of the last `window`; for `first_pause`, then
    for twice as long each time that the probe fails as well, up to `longest_pause`. After `total_pause` without a
    try that succeeds, the pool is left for the next run.
    """

    failures: int = 5
    window: int = 20
    share: float = 0.6
    first_pause: float = 5.0
    longest_pause: float = 120.0
    total_pause: float = 900.0
    longest_retry_after: float = 120.0


class Rate:
    """Spreads amounts over time so that no more than so many a minute are used."""

    def __init__(self, per_minute: float | None, burst_seconds: float = 0.0):
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._burst = burst_seconds
        self._free_at = 0.0  # when all that has been taken is worked off

    def take(self, amount: float, now: float) -> float:
        """Take an amount in its turn; seconds to wait until it may be used."""
        wait = max(0.0, self._free_at - self._burst - now)
        self._free_at = max(self._free_at, now) + amount * self._gap
        return wait

    def correct(self, amount: float) -> None:
        """Take more, or give back with a negative amount, after the fact and without a wait."""
        self._free_at += amount * self._gap


class Slots(Protocol):
    """So many calls at once."""

    async def acquire(self) -> object:
        """Wait for a slot."""

    def release(self) -> None:
        """Give a slot back."""


@dataclass(frozen=True)
class Limits:
    """What a provider pool allows."""

    slots: Slots
    requests: Rate
    tokens: Rate


def own_limits(pool: Pool) -> Limits:
    """The limits of a pool for this process alone."""
    return Limits(
        asyncio.Semaphore(pool.concurrency),
        Rate(pool.requests_per_minute),
        Rate(pool.tokens_per_minute, BURST_SECONDS),
    )


@dataclass
class Ticket:
    """The right to make one try of a call."""

    tokens: int  # estimated
    slots: Slots
    probe: bool = False
    left: bool = False


class Gate:
    """One provider pool, as its calls see it."""

    def __init__(self, name: str):
        self.name = name
        self.users = 0  # runs
        self.attempts = 0  # that have begun and not ended
        self.given_up: str | None = None  # why the pool is left for the next run
        self.watchers: set[Callable[[], None]] = set()  # told when a pause begins
        self._pool = Pool(name)
        self._policy = CircuitPolicy()

    def adopt(
        self, pools: Iterable[Pool], policy: CircuitPolicy, limits_of: Callable[[Pool], Limits] = own_limits
    ) -> None:
        """Begin a run: where its models name different numbers for the pool, the strictest hold."""
        wanted = list(pools)
        if self.users:
            wanted.append(self._pool)
        self.users += 1
        merged = Pool(
            self.name,
            max(1, min(p.concurrency for p in wanted)),
            _least(p.requests_per_minute for p in wanted),
            _least(p.tokens_per_minute for p in wanted),
        )
        if self.users > 1 and merged == self._pool:
            return
        fresh = self.users == 1
        self._pool, self._policy = merged, policy
        self._limits = limits_of(merged)
        if fresh:
            self._close()
            self._pauses, self._paused, self.given_up = 0, 0.0, None

    def release(self) -> None:
        """End a run."""
        self.users -= 1

    @property
    def concurrency(self) -> int:
        """Calls that may be under way at once."""
        return self._pool.concurrency

    # ---- the calls

    async def enter(
        self, tokens: int, stopping: Callable[[], bool], halted: Callable[[], bool] = lambda: False
    ) -> Ticket:
        """Wait until a try may be made: the provider is not paused, its rates allow it, a slot is free.

        Each ticket must be given back with `leave`. Raises StoppedError, also when after the wait `halted` says that
        the call is not to be made any more.
        """
        while True:
            await self._passable(stopping)
            now = time.monotonic()
            limits = self._limits
            wait = max(limits.requests.take(1, now), limits.tokens.take(tokens, now))
            await pause(wait, stopping)
            slots = self._limits.slots
            await slots.acquire()
            if halted():
                slots.release()
                self._limits.tokens.correct(-tokens)
                raise StoppedError
            if not self.paused:
                return Ticket(tokens, slots)
            if self._may_probe():
                self._probing = True
                return Ticket(tokens, slots, probe=True)
            slots.release()
            self._limits.tokens.correct(-tokens)

    def leave(self, ticket: Ticket, used: int | None, failed: bool | None, asked: float | None = None) -> None:
        """Give a ticket back: tokens reported, whether the provider failed (None: not known), its Retry-After (s).

        Only the first time counts.
        """
        if ticket.left:
            return
        ticket.left = True
        ticket.slots.release()
        self._limits.tokens.correct((used or 0) - ticket.tokens)
        if ticket.probe:
            self._probing = False
            if failed is not None:
                self._pause(asked) if failed else self._close()
        elif failed is not None and not self.paused:
            self._note(failed, asked)

    async def _passable(self, stopping: Callable[[], bool]) -> None:
        while self.paused and not self._may_probe():
            if self.given_up is not None:
                raise PoolLeftError(self.given_up)
            if stopping():
                raise StoppedError
            await asyncio.sleep(min(_POLL, max(0.01, self._open_until - time.monotonic())))

    def startable(self) -> bool:
        """Whether an attempt may begin: not during a pause, unless one is needed for the probe."""
        return not self.paused or self.given_up is not None or (self._may_probe() and not self.attempts)

    # ---- the circuit

    @property
    def paused(self) -> bool:
        """Whether the provider is thought to be down."""
        return self._open_until > 0

    def next_probe(self) -> float:
        """Seconds until the provider is tried again; 0 while it is."""
        return max(0.0, self._open_until - time.monotonic())

    def _may_probe(self) -> bool:
        return self.given_up is None and not self._probing and time.monotonic() >= self._open_until

    def _close(self) -> None:
        self._open_until, self._probing, self._good = 0.0, False, 0
        self._seen: deque[bool] = deque(maxlen=max(self._policy.window, self._pool.concurrency))

    def _note(self, failed: bool, asked: float | None) -> None:
        self._seen.append(failed)
        policy, enough = self._policy, max(self._policy.failures, self._pool.concurrency // 4)
        self._good = 0 if failed else self._good + 1
        if self._good >= enough:  # one good probe is not yet a recovery: a flapping provider keeps its long pauses
            self._pauses, self._paused = 0, 0.0
        recent = list(self._seen)[-enough:]
        in_a_row = len(recent) == enough and all(recent)
        full = len(self._seen) == self._seen.maxlen
        if failed and (in_a_row or (full and sum(self._seen) >= policy.share * len(self._seen))):
            self._pause(asked)

    def _pause(self, asked: float | None) -> None:
        policy = self._policy
        seconds = min(policy.longest_pause, policy.first_pause * 2.0**self._pauses)
        seconds = max(seconds, min(asked or 0.0, policy.longest_retry_after)) * random.uniform(1.0, 1.1)  # noqa: S311
        if self._paused + seconds > policy.total_pause:
            self.given_up = (
                f"the provider kept failing over pauses of {self._paused:.0f} s in all; its attempts are left for the "
                "next run, and those under way go on from where they are"
            )
        self._pauses, self._paused = self._pauses + 1, self._paused + seconds
        self._open_until = time.monotonic() + seconds
        for told in self.watchers:
            told()


def _least(numbers: Iterable[int | None]) -> int | None:
    return min((n for n in numbers if n), default=None)


async def pause(seconds: float, stopping: Callable[[], bool]) -> None:
    """Sleep, but not beyond the moment at which the run is told to end: then StoppedError."""
    if seconds <= 0:
        return
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if stopping():
            raise StoppedError
        await asyncio.sleep(min(left, _POLL))


class Budget:
    """What may be spent, in USD, and what is spent. Shared by everything that spends from it in one process.

    A call sets aside the most that it can cost before it is made. Near the ceiling calls therefore go one by one,
    and the last of them exceeds it by less than what that one call costs.
    """

    def __init__(self, max_usd: float | None = None):
        self.max_usd = max_usd
        self._spent = 0.0
        self._aside = 0.0
        self._calls = 0

    @property
    def spent(self) -> float:
        """What has been spent."""
        return self._spent

    @property
    def used_up(self) -> bool:
        """Whether nothing more may be spent."""
        return self.max_usd is not None and self.spent >= self.max_usd

    async def set_aside(self, usd: float, stopping: Callable[[], bool]) -> None:
        """Wait until a call that costs at most so much may be made. Raises StoppedError; CeilingError at the end."""
        while not self.reserve(usd):
            if stopping():
                raise StoppedError
            await asyncio.sleep(0.02)

    def reserve(self, usd: float) -> bool:
        """Set aside what a call costs at most, if it may be made now. Raises CeilingError when none may any more."""
        if self.used_up:
            raise CeilingError
        if self.max_usd is not None and self._calls and self.spent + self._aside + usd > self.max_usd:
            return False
        self._calls, self._aside = self._calls + 1, self._aside + usd
        return True

    def settle(self, usd: float, cost: float | None) -> None:
        """A call for which `usd` was set aside has ended and did cost so much."""
        self._calls, self._aside = self._calls - 1, self._aside - usd
        self.spend(cost or 0.0)

    def spend(self, usd: float) -> None:
        """Count what has been spent without having been set aside."""
        self._spent += usd

    def made(self, *, failed: bool) -> None:
        """An attempt has ended, perhaps for reasons that are not the model's: for those who count them elsewhere."""


_budgets: dict[str, Budget] = {}
_KEPT_BUDGETS = 64


def budget_of(run_id: str, max_usd: float | None) -> Budget:
    """The budget of a run that makes attempts in several rounds: they all spend from the same one."""
    if run_id not in _budgets:
        while len(_budgets) >= _KEPT_BUDGETS:
            del _budgets[next(iter(_budgets))]
        _budgets[run_id] = Budget(max_usd)
    return _budgets[run_id]


_gates: dict[tuple[int, str], Gate] = {}


def gate_of(loop: asyncio.AbstractEventLoop, name: str) -> Gate:
    """The gate of a pool in the process's event loop."""
    return _gates.setdefault((id(loop), name), Gate(name))
