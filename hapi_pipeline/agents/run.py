"""Making many attempts at once: one event loop, bounded calls per provider, each attempt durable."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from hapi_pipeline import __version__
from hapi_pipeline.agents import prompt, provider
from hapi_pipeline.agents.ledger import (
    AttemptLedger,
    Result,
    collect,
    read_result,
    settled,
    status_of,
    write_result,
)
from hapi_pipeline.agents.loop import Conversation, converse
from hapi_pipeline.agents.steps import StepLog
from hapi_pipeline.agents.tasks import Task, attempt_id, identity_sha256, request_identity
from hapi_pipeline.agents.texts import redact
from hapi_pipeline.agents.tools import TOOLS, Workspace
from hapi_pipeline.registry import AgentLimits, Model, Price
from hapi_pipeline.settings import UserError

POLICY = provider.CallPolicy()
OUTAGE = 20
"""After so many provider failures in a row and nothing else, a model's remaining attempts are not started."""
_LAST_TURN_SECONDS = 120.0  # for the last reply of an attempt whose time is used up
_LOCK_WAIT = 0.2


@dataclass(frozen=True)
class Progress:
    """How far a run is. `cost_usd` is what this run has spent so far."""

    done: int
    total: int
    infra: int
    cost_usd: float
    seconds_left: float | None


@dataclass(frozen=True)
class _Planned:
    """A task that has to be run."""

    place: int  # among the tasks given
    task: Task
    identity: dict[str, Any]
    sha: str
    try_number: int
    endpoint: provider.Endpoint
    price: Price | None


def run_tasks(
    tasks: Sequence[Task],
    ledger: AttemptLedger,
    limits: AgentLimits,
    *,
    simulated_base: str | None = None,
    max_usd: float | None = None,
    on_result: Callable[[Task, Result], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[Result]:
    """Make every attempt that the ledger lacks; the results of all tasks that have one, in the tasks' order.

    `simulated_base` is the address of the simulated provider. `max_usd` bounds the spending of this call:
    when it is reached no further attempt starts, and tasks not started are absent from the results.
    `on_result` is called for every new result, `on_progress` after it, both in the caller's thread.

    An interrupt (Ctrl-C) stops the launching, lets running attempts end, then goes on as KeyboardInterrupt; a
    second one leaves running attempts as they are, to be resumed by the next run. Raises UserError before
    anything is spent when a model cannot be run (no price, no key, profile not available), and at the end
    when a provider turned a model down altogether.
    """
    results: dict[int, Result] = {}
    planned = _plan(tasks, ledger, limits, simulated_base, results)
    if planned:
        provider.prepare_litellm()
        run = _Run(planned, ledger, limits, max_usd)
        tally = _Tally(done=len(results), total=len(tasks))
        _relay(run, tally, results, on_result, on_progress)
        run.raise_troubles()
    return [results[place] for place in sorted(results)]


def _plan(
    tasks: Sequence[Task],
    ledger: AttemptLedger,
    limits: AgentLimits,
    simulated_base: str | None,
    results: dict[int, Result],
) -> list[_Planned]:
    """The tasks that have to be run; the results of the others go to `results`."""
    ways: dict[int, tuple[provider.Endpoint, Price | None]] = {}
    planned = []
    for place, task in enumerate(tasks):
        if task.model.external:
            raise UserError(
                f"Model {task.model.name!r} is external: its attempts are made elsewhere "
                "and come in by `hapi import attempts`."
            )
        identity = request_identity(task, limits)
        sha = identity_sha256(identity)
        tries = ledger.tries(task, sha)
        found = settled(tries)
        if found is not None:
            results[place] = found
            continue
        if id(task.model) not in ways:
            ways[id(task.model)] = _way(task.model, simulated_base)
        planned.append(_Planned(place, task, identity, sha, len(tries) + 1, *ways[id(task.model)]))
    return planned


def obstacle(model: Model, simulated_base: str | None) -> str | None:
    """Why a model cannot be run at all as things stand, in a plain sentence; None when it can."""
    try:
        _way(model, simulated_base)
    except UserError as error:
        return str(error)
    return None


def _way(model: Model, simulated_base: str | None) -> tuple[provider.Endpoint, Price | None]:
    """How to reach a model and what it costs; UserError where it cannot be run."""
    if model.agent_profile == "code":
        raise UserError(
            f"Model {model.name!r} has the profile 'code', which needs a sandbox that this version does not "
            "have yet; set agent_profile: paper in models.yaml."
        )
    price = model.price_on(datetime.now(UTC).date())
    if price is None and not model.simulated:
        raise UserError(
            f"Model {model.name!r} has no price that is valid today; add one under `prices` in models.yaml, "
            "so that its cost can be counted and limited."
        )
    return provider.endpoint_of(model, simulated_base), price


@dataclass
class _Tally:
    """Counts for the progress report."""

    done: int
    total: int
    infra: int = 0
    new: int = 0

    def report(self, run: _Run) -> Progress:
        left = self.total - self.done
        pace = (time.monotonic() - run.began) / self.new if self.new else None
        return Progress(self.done, self.total, self.infra, run.spent, None if pace is None else pace * left)


def _relay(
    run: _Run,
    tally: _Tally,
    results: dict[int, Result],
    on_result: Callable[[Task, Result], None] | None,
    on_progress: Callable[[Progress], None] | None,
) -> None:
    """Start the run in the event loop's thread and hand its results to the caller's functions in this one."""
    events: SimpleQueue[tuple[_Planned, Result] | None] = SimpleQueue()
    run.report = events.put
    future = asyncio.run_coroutine_threadsafe(run.main(), _event_loop())
    future.add_done_callback(lambda _: events.put(None))
    try:
        while (event := events.get()) is not None:
            plan, result = event
            results[plan.place] = result
            tally.done, tally.new = tally.done + 1, tally.new + 1
            tally.infra += result.status == "infra"
            if on_result is not None:
                on_result(plan.task, result)
            if on_progress is not None:
                on_progress(tally.report(run))
    except BaseException:  # an interrupt, or the caller's function failed: in both cases drain, then pass it on
        run.stopping = True
        _drain(future)
        raise
    future.result()


def _drain(future: Future[None]) -> None:
    try:
        future.exception()
    except BaseException:  # a second interrupt: leave the attempts as they are
        future.cancel()
        raise


_loops: dict[int, asyncio.AbstractEventLoop] = {}
_loops_guard = threading.Lock()


def _event_loop() -> asyncio.AbstractEventLoop:
    """The process's one event loop for model calls, in a thread of its own.

    One for all runs of the process, because litellm leaks the sockets of every loop that it has worked in and
    its background worker breaks when there are several.
    """
    with _loops_guard:
        loop = _loops.get(os.getpid())  # by process: a fork does not take the thread along
        if loop is None:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="agents", daemon=True).start()
            _loops[os.getpid()] = loop
        return loop


class _Run:
    """One call of run_tasks, as it lives in the event loop."""

    def __init__(self, planned: Sequence[_Planned], ledger: AttemptLedger, limits: AgentLimits, max_usd: float | None):
        self.pools: dict[str, deque[_Planned]] = {}
        for plan in planned:
            self.pools.setdefault(plan.task.model.pool.name, deque()).append(plan)
        self.ledger, self.limits, self.max_usd = ledger, limits, max_usd
        self.report: Callable[[tuple[_Planned, Result]], None] = lambda _: None
        self.began = time.monotonic()
        self.stopping = False
        self.spent = 0.0
        self.running = 0
        self.new = 0
        self.halted: dict[str, str] = {}  # model name -> why none of its attempts is started any more
        self.failures: dict[str, int] = {}  # provider failures in a row, by model name
        self.broken: BaseException | None = None
        self.files = ThreadPoolExecutor(8, thread_name_prefix="attempt-files")

    async def main(self) -> None:
        workers = []
        for queue in self.pools.values():
            models = {p.task.model.pool for p in queue}
            pace = _Pace(min((m.requests_per_minute for m in models if m.requests_per_minute), default=None))
            concurrency = max(1, min(m.concurrency for m in models))
            workers += [asyncio.create_task(self._work(queue, pace)) for _ in range(min(concurrency, len(queue)))]
        try:
            await asyncio.gather(*workers)
        finally:
            self.files.shutdown(wait=False)
        if self.broken is not None:
            raise self.broken

    def raise_troubles(self) -> None:
        """UserError when models had to be halted."""
        if self.halted:
            told = "; ".join(f"{name}: {why}" for name, why in sorted(self.halted.items()))
            raise UserError(
                f"Attempts were left out because a provider turned them down ({told}). Mend it and run again."
            )

    def _may_start(self, plan: _Planned) -> bool:
        if self.stopping or self.broken is not None or plan.task.model.name in self.halted:
            return False
        # the running ones will cost something yet: estimated, so that many at once do not overshoot
        coming = self.running * self.spent / self.new if self.new else 0.0
        return self.max_usd is None or self.spent + coming < self.max_usd

    async def _work(self, queue: deque[_Planned], pace: _Pace) -> None:
        while queue:
            plan = queue.popleft()
            if not self._may_start(plan):
                continue
            self.running += 1
            try:
                result = await self._attempt(plan, pace)
            except provider.OperatorError as error:
                self.halted.setdefault(plan.task.model.name, str(error))
            except provider.StoppedError:
                pass
            except Exception as error:  # this machine is at fault (a full disk, say): start nothing more
                self.broken = self.broken or error
            else:
                self._watch(plan, result)
                self.report((plan, result))
            finally:
                self.running -= 1

    def _watch(self, plan: _Planned, result: Result) -> None:
        self.new += 1
        name = plan.task.model.name
        self.failures[name] = self.failures.get(name, 0) + 1 if result.finish_reason == "provider_error" else 0
        if self.failures[name] >= OUTAGE:
            self.halted.setdefault(name, f"{OUTAGE} attempts in a row failed at the provider")

    async def _attempt(self, plan: _Planned, pace: _Pace) -> Result:
        identifier = attempt_id(plan.sha, plan.try_number)
        folder = self.ledger.folder_of(plan.task, identifier)
        folder.mkdir(parents=True, exist_ok=True)
        log = await self._log(folder)
        try:
            done = read_result(folder)  # another process, or the same task given twice, was faster
            if done is None:
                done = await self._resume(plan, identifier, folder, log, pace)
            return done
        finally:
            log.close()

    async def _log(self, folder: Path) -> StepLog:
        while True:
            try:
                return StepLog(folder / "steps.jsonl", self.files)
            except BlockingIOError as error:
                if self.stopping:
                    raise provider.StoppedError from error
                await asyncio.sleep(_LOCK_WAIT)

    async def _resume(self, plan: _Planned, identifier: str, folder: Path, log: StepLog, pace: _Pace) -> Result:
        """Run the attempt's loop, over what the log holds already and then over new calls."""
        task = plan.task
        workspace = Workspace(folder)
        previous = (
            [(d.path, task.previous.folder / "deliverables" / d.path) for d in task.previous.deliverables]
            if task.previous
            else []
        )
        workspace.prepare(task.job.attachments, previous)
        _write_config(folder, plan, identifier)
        brief = prompt.first_message(task, workspace.files("attachments"), workspace.files("previous"))
        state = Conversation([{"role": "system", "content": prompt.SYSTEM}, {"role": "user", "content": brief}])
        ask = partial(self._ask, plan, identifier, log, pace, state)
        reason = await converse(state, workspace, self.limits, ask, log.tool)
        finish = partial(self._finish, plan, identifier, folder, state, reason, log.maybe_billed)
        return await asyncio.get_running_loop().run_in_executor(self.files, finish)

    async def _ask(
        self, plan: _Planned, identifier: str, log: StepLog, pace: _Pace, state: Conversation, step: int,
        messages: list[dict[str, Any]],
    ) -> dict[str, Any]:  # fmt: skip
        """The outcome of a step: the recorded one, or a new call's."""
        if step in log.outcomes:
            return log.outcomes[step]
        key = f"{identifier}-{step}"
        left = _LAST_TURN_SECONDS if state.last_turn else self.limits.max_seconds - state.seconds
        await pace.turn()
        await log.intend(step, key)
        try:
            record = await provider.ask(plan.endpoint, messages, TOOLS, key, left, POLICY, lambda: self.stopping)
        except (provider.OperatorError, provider.StoppedError) as error:
            log.unanswered(step, redact(str(error), plan.endpoint.secret))
            raise
        if record["event"] == "reply":
            record["cost_usd"] = provider.cost_of(record["usage"], plan.price)
            self.spent += record["cost_usd"] or 0.0
        else:
            record["wall"] = record["seconds"] >= left
        await log.outcome(step, record)
        return record

    def _finish(
        self,
        plan: _Planned,
        identifier: str,
        folder: Path,
        state: Conversation,
        reason: str,
        maybe_billed: int,
    ) -> Result:
        task = plan.task
        result = Result(
            attempt_id=identifier, job_id=task.job.job_id, model=task.model.name, round=task.round,
            turn=task.turn, arm=task.arm, try_number=plan.try_number,
            status=status_of(reason), finish_reason=reason,
            steps=state.steps, prompt_tokens=state.prompt_tokens, completion_tokens=state.completion_tokens,
            cached_tokens=state.cached_tokens, reasoning_tokens=state.reasoning_tokens,
            cost_usd=state.cost_usd,
            seconds=round(state.seconds, 3), deliverables=collect(folder), request_sha256=plan.sha,
            previous_attempt_id=task.previous.attempt_id if task.previous else None,
            model_snapshot=state.model_snapshot, agent_profile=task.model.agent_profile, sandbox="none",
            code_version=__version__, finished_at=datetime.now(UTC), simulated=task.model.simulated,
            maybe_billed_steps=maybe_billed, folder=folder,
        )  # fmt: skip
        write_result(result)
        return result


class _Pace:
    """Spreads calls evenly where a provider allows only so many a minute."""

    def __init__(self, per_minute: int | None):
        self.gap = 60.0 / per_minute if per_minute else 0.0
        self.next = 0.0

    async def turn(self) -> None:
        """Wait for this call's turn."""
        if self.gap:
            now = time.monotonic()
            mine = max(now, self.next)
            self.next = mine + self.gap
            await asyncio.sleep(mine - now)


def _write_config(folder: Path, plan: _Planned, identifier: str) -> None:
    """What was asked, for people who look into the folder; its `request` hashes to the request's SHA-256."""
    config = {
        "attempt_id": identifier,
        "try_number": plan.try_number,
        "request_sha256": plan.sha,
        "request": plan.identity,
        "api_base": plan.task.model.api_base,
        "cohort": plan.task.cohort,
    }
    (folder / "config.json").write_text(redact(json.dumps(config), plan.endpoint.secret), "ascii")
