"""Making many attempts at once: one event loop, bounded calls per provider, each attempt durable."""

from __future__ import annotations

import asyncio
import json
import math
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from hapi_pipeline import __version__
from hapi_pipeline.agents import executor, prompt, provider, sandbox
from hapi_pipeline.agents.command import program_sha256, run_command
from hapi_pipeline.agents.desk import Acted
from hapi_pipeline.agents.files import (
    TOOL_THREADS,
    WORTH_A_PROCESS,
    DeskHere,
    DeskThere,
    FilesProcess,
    Threads,
    files_process,
)
from hapi_pipeline.agents.ledger import AttemptLedger, Result, record_of, result_of, settled, status_of
from hapi_pipeline.agents.loop import Conversation, converse
from hapi_pipeline.agents.pools import (
    Budget,
    CeilingError,
    CircuitPolicy,
    Gate,
    Limits,
    PoolLeftError,
    SetAsideError,
    StoppedError,
    gate_of,
    own_limits,
)
from hapi_pipeline.agents.tasks import Task, attempt_id, identity_sha256, request_identity
from hapi_pipeline.agents.texts import redact, without_secret
from hapi_pipeline.agents.tools import CODE_TOOLS, TOOLS
from hapi_pipeline.registry import AgentLimits, Model, Pool, Price
from hapi_pipeline.settings import UserError

POLICY = provider.CallPolicy()
CIRCUIT = CircuitPolicy()
OUTAGE = 20
"""After so many attempts in a row that ended in a provider_error, no more of that model is started: a provider that
answers every call with the same error is not down, so no pause would mend it."""
TYPICAL_TOKENS = (6000, 2500)
"""Tokens sent and received by an attempt, where none has been made yet: a guess."""
_LAST_TURN_SECONDS = 120.0  # for the last reply of an attempt whose time is used up
_LOCK_WAIT = 0.2
_AT_THEIR_FILES = 0.25  # so many more attempts than calls at once: some are at their files while others are called for
_LOOK = 0.05  # seconds between two looks at whether an attempt may begin
_TELL = 1.0  # seconds between two reports while a provider is paused


@dataclass(frozen=True)
class Progress:
    """How far a run is. `cost_usd` is what this run has spent so far; `paused` says which providers are waited for."""

    done: int
    total: int
    infra: int
    cost_usd: float
    seconds_left: float | None
    paused: str = ""

    @property
    def note(self) -> str:
        """What is worth saying beside the count, in one line."""
        return f"${self.cost_usd:,.2f}, {self.infra} failed" + (f"; {self.paused}" if self.paused else "")


@dataclass(frozen=True)
class _Planned:
    """A task that has to be run."""

    place: int  # among the tasks given
    task: Task
    identity: dict[str, Any]
    sha: str
    try_number: int
    endpoint: provider.Endpoint
    was_aside: bool = False  # in this run, while its provider was paused

    @property
    def price(self) -> Price | None:
        """What the model costs today: a run may last beyond the day on which a price changes."""
        return self.task.model.price_on(datetime.now(UTC).date())


def run_tasks(
    tasks: Sequence[Task],
    ledger: AttemptLedger,
    limits: AgentLimits,
    *,
    simulated_base: str | None = None,
    max_usd: float | None = None,
    budget: Budget | None = None,
    limits_of: Callable[[Pool], Limits] = own_limits,
    on_result: Callable[[Task, Result], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_left: Callable[[str], None] | None = None,
) -> list[Result]:
    """Make every attempt that the ledger lacks; the results of all tasks that have one, in the tasks' order.

    `simulated_base` is the address of the simulated provider. `max_usd` bounds the spending of this call, or
    `budget` that of several: once it is used up no further call is made, attempts under way stay as they are for
    the next run, and what has no result is absent from the results. The one call that reaches the ceiling may
    exceed it. `limits_of` gives what a provider pool allows this process, perhaps together with others. `on_result` is
    called for every new result, `on_progress` after it and while a provider is paused, `on_left` at the end with a
    sentence for each reason why attempts were left for the next run; all in the caller's thread.

    An interrupt (Ctrl-C) stops the launching, lets running attempts end, then goes on as KeyboardInterrupt; a
    second one leaves running attempts as they are, to be resumed by the next run. Raises UserError before
    anything is spent when a model cannot be run (no price, no key, profile not available), and at the end, without
    `on_left`, when a provider turned a model down altogether or was given up.
    """
    results: dict[int, Result] = {}
    planned = _plan(tasks, ledger, limits, simulated_base, results)
    if planned:
        # started first: it gets ready while litellm is imported
        process = files_process() if sum(map(_by_the_process, planned)) >= WORTH_A_PROCESS else None
        provider.prepare_litellm()
        for plan in {id(p.task.model): p for p in planned}.values():
            if plan.task.model.litellm:
                provider.introduce(plan.endpoint, plan.price)
        run = _Run(planned, ledger, limits, budget or Budget(max_usd), process, limits_of)
        tally = _Tally(done=len(results), total=len(tasks))
        _relay(run, tally, results, on_result, on_progress)
        run.tell_left(on_left)
    return [results[place] for place in sorted(results)]


def _plan(
    tasks: Sequence[Task],
    ledger: AttemptLedger,
    limits: AgentLimits,
    simulated_base: str | None,
    results: dict[int, Result],
) -> list[_Planned]:
    """The tasks that have to be run; the results of the others go to `results`."""
    ways: dict[int, provider.Endpoint] = {}
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
        planned.append(_Planned(place, task, identity, sha, len(tries) + 1, ways[id(task.model)]))
    return planned


def obstacle(model: Model, simulated_base: str | None) -> str | None:
    """Why a model cannot be run at all as things stand, in a plain sentence; None when it can."""
    try:
        _way(model, simulated_base)
    except UserError as error:
        return str(error)
    return None


def _by_the_process(plan: _Planned) -> bool:
    """Whether the attempt's files may be kept by another process: what runs in the sandbox is started by this one."""
    return plan.task.model.agent_profile == "paper"


def _way(model: Model, simulated_base: str | None) -> provider.Endpoint:
    """How to reach a model; UserError where it cannot be run."""
    _level(model)
    if model.agent_profile == "command":
        program_sha256(model)
        return provider.Endpoint("", None, None, {}, 0)
    problem = model.price_problem(datetime.now(UTC).date())
    if problem is not None and not (model.simulated and not model.prices):
        raise UserError(problem)
    return provider.endpoint_of(model, simulated_base)


def _level(model: Model) -> str:
    """The sandbox that the model's code runs in, or `none` for one that runs none; UserError where there is no sandbox.

    The self-test that finds it is run once in a process, before anything is spent.
    """
    if model.agent_profile not in ("code", "command"):
        return "none"
    return str(sandbox.required().level)


@dataclass
class _Tally:
    """Counts for the progress report."""

    done: int
    total: int
    infra: int = 0
    new: int = 0

    def report(self, run: _Run, paused: str) -> Progress:
        left = self.total - self.done
        pace = (time.monotonic() - run.began) / self.new if self.new else None
        seconds = None if pace is None else pace * left
        return Progress(self.done, self.total, self.infra, run.spent, seconds, paused)


def _relay(
    run: _Run,
    tally: _Tally,
    results: dict[int, Result],
    on_result: Callable[[Task, Result], None] | None,
    on_progress: Callable[[Progress], None] | None,
) -> None:
    """Start the run in the event loop's thread and hand its results to the caller's functions in this one."""
    events: SimpleQueue[tuple[_Planned, Result] | str | None] = SimpleQueue()
    run.report = events.put
    future = asyncio.run_coroutine_threadsafe(run.main(), event_loop())
    future.add_done_callback(lambda _: events.put(None))
    try:
        while (event := events.get()) is not None:
            if isinstance(event, str):
                paused = event  # as it was then: a short pause may be over by now
            else:
                paused = run.paused()
                plan, result = event
                results[plan.place] = result
                tally.done, tally.new = tally.done + 1, tally.new + 1
                tally.infra += result.status == "infra"
                if on_result is not None:
                    on_result(plan.task, result)
            if on_progress is not None:
                on_progress(tally.report(run, paused))
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


def event_loop() -> asyncio.AbstractEventLoop:
    """The process's one event loop for model calls, in a thread of its own.

    One for all runs of the process, because litellm leaks the sockets of every loop that it has worked in and
    its background worker breaks when there are several.
    """
    with _loops_guard:
        loop = _loops.get(os.getpid())  # by process: a fork does not take the thread along
        if loop is None:
            loop = asyncio.new_event_loop()
            loop.set_default_executor(executor.Threads(TOOL_THREADS, thread_name_prefix="agent-tools"))
            threading.Thread(target=loop.run_forever, name="agents", daemon=True).start()
            _loops[os.getpid()] = loop
        return loop


class _Run:
    """One call of run_tasks, as it lives in the event loop."""

    def __init__(
        self,
        planned: Sequence[_Planned],
        ledger: AttemptLedger,
        limits: AgentLimits,
        budget: Budget,
        process: FilesProcess | None = None,
        limits_of: Callable[[Pool], Limits] = own_limits,
    ):
        self.pools: dict[str, deque[_Planned]] = {}
        for plan in planned:
            self.pools.setdefault(plan.task.model.pool.name, deque()).append(plan)
        self.ledger, self.limits, self.budget, self.limits_of = ledger, limits, budget, limits_of
        self.report: Callable[[tuple[_Planned, Result] | str], None] = lambda _: None
        self.began = time.monotonic()
        self.stopping = False
        self.spent = 0.0
        self.running = 0
        self.new = 0
        self.gates: dict[str, Gate] = {}
        self.halted: dict[str, str] = {}  # model name -> why none of its attempts is started any more
        self.failures: dict[str, int] = {}  # provider failures in a row, by model name
        self.left: Counter[str] = Counter()  # attempts without a result, by why; see `tell_left`
        self.broken: BaseException | None = None
        self.threads, self.process = Threads(), process

    async def main(self) -> None:
        workers = []
        if self.process is not None:
            await self.process.connect()
        for name, queue in self.pools.items():
            gate = self.gates[name] = gate_of(asyncio.get_running_loop(), name)
            gate.adopt({p.task.model.pool for p in queue}, CIRCUIT, self.limits_of)
            gate.watchers.add(self._tell_pause)
            many = gate.concurrency + math.ceil(gate.concurrency * _AT_THEIR_FILES)
            workers += [self._work(queue, gate) for _ in range(min(many, len(queue)))]
        teller = asyncio.create_task(self._tell_pauses())
        try:
            await asyncio.gather(*map(asyncio.create_task, workers))
        finally:
            teller.cancel()
            for gate in self.gates.values():
                gate.watchers.discard(self._tell_pause)
                gate.release()
            self.threads.end()
        if self.broken is not None:
            raise self.broken

    def paused(self) -> str:
        """Which providers are waited for, and how long."""
        gates = [g for g in self.gates.values() if g.paused and g.given_up is None]
        return ", ".join(f"{g.name} paused, next probe in {g.next_probe():.0f} s" for g in gates)

    def _tell_pause(self) -> None:
        if now := self.paused():
            self.report(now)

    async def _tell_pauses(self) -> None:
        was = ""
        while True:
            await asyncio.sleep(_TELL)
            now = self.paused()
            if now or was:
                self.report(now)
            was = now

    def tell_left(self, on_left: Callable[[str], None] | None) -> None:
        """Say why attempts have been left for the next run; UserError where nobody listens and somebody must act."""
        mend = [
            f"{name}: {why}; {self.left[name]} of its attempts are left. Mend it and run again."
            for name, why in sorted(self.halted.items())
        ]
        wait = [
            f"{gate.name}: {gate.given_up} ({self.left['pool ' + gate.name]} of them)."
            for gate in self.gates.values()
            if gate.given_up is not None
        ]
        budget, begun = self.budget, self.left["begun"]
        spent = (
            [
                f"The ceiling of ${budget.max_usd:,.2f} is reached (${budget.spent:,.2f} spent): "
                f"{self.left['ceiling'] + begun} attempts are left for the next run"
                + (f", {begun} of them begun: what these have cost counts once they are finished." if begun else ".")
            ]
            if self.left["ceiling"] + begun
            else []
        )
        if on_left is not None:
            for sentence in mend + wait + spent:
                on_left(sentence)
        elif mend or wait:
            raise UserError("Attempts were left out. " + " ".join(mend + wait))

    def _stopping(self) -> bool:
        return self.stopping

    def _why_not(self, plan: _Planned, gate: Gate) -> str | None:
        """Why an attempt is not to be begun in this run, as a key of `left`; None when it is."""
        if self.stopping or self.broken is not None:
            return "stopped"
        if plan.task.model.name in self.halted:
            return plan.task.model.name
        if gate.given_up is not None:
            return f"pool {gate.name}"
        return "ceiling" if self.budget.used_up else None

    async def _turn(self, plan: _Planned, gate: Gate) -> str | None:
        """Wait until an attempt may begin; why it may not in this run, or None."""
        # looked at again and again: what is waited for changes in many places, and time does too
        while (why := self._why_not(plan, gate)) is None and not (gate.startable() and self._affordable(plan)):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)
        return why

    def _affordable(self, plan: _Planned) -> bool:
        """Whether there is money for this attempt beside those under way, all of them as dear as is usual."""
        if self.budget.max_usd is None or not self.running:
            return True
        return self.budget.spent + (self.running + 1) * self._usual(plan) <= self.budget.max_usd

    def _usual(self, plan: _Planned) -> float:
        """What an attempt usually costs: as those of this run did, else at a typical length. USD."""
        sent, received = TYPICAL_TOKENS
        usage = {"prompt": sent, "completion": received, "cached": 0, "written": 0}
        return self.spent / self.new if self.new else provider.cost_of(usage, plan.price) or 0.0

    async def _work(self, queue: deque[_Planned], gate: Gate) -> None:
        while queue:
            plan = queue.popleft()
            if why := await self._turn(plan, gate):
                self.left[why] += 1
                continue
            self.running, gate.attempts = self.running + 1, gate.attempts + 1
            try:
                result = await self._attempt(plan, gate)
            except provider.OperatorError:
                self.left[plan.task.model.name] += 1
            except SetAsideError:
                queue.append(replace(plan, was_aside=True))
            except StoppedError as error:
                name = plan.task.model.name
                self.left[name if name in self.halted else _left_because(error, gate)] += 1
            except Exception as error:  # this machine is at fault (a full disk, say): start nothing more
                self.broken = self.broken or error
            else:
                self._watch(plan, result)
                self.report((plan, result))
            finally:
                self.running, gate.attempts = self.running - 1, gate.attempts - 1

    def _watch(self, plan: _Planned, result: Result) -> None:
        self.new += 1
        self.budget.made(failed=result.status == "infra")
        name = plan.task.model.name
        self.failures[name] = self.failures.get(name, 0) + 1 if result.finish_reason == "provider_error" else 0
        if self.failures[name] >= OUTAGE:
            self.halted.setdefault(name, f"{OUTAGE} attempts in a row failed at the provider")

    async def _attempt(self, plan: _Planned, gate: Gate) -> Result:
        identifier = attempt_id(plan.sha, plan.try_number)
        folder = self.ledger.folder_of(plan.task, identifier)
        level = _level(plan.task.model)
        desk = self._desk(plan, folder, level)
        try:
            opened = await self._open(plan, identifier, desk, level)
            if "done" in opened:
                return result_of(opened["done"], folder)
            return await self._resume(plan, identifier, folder, desk, opened, gate)
        finally:
            await desk.do("close")

    def _desk(self, plan: _Planned, folder: Path, level: str) -> DeskHere | DeskThere:
        model = plan.task.model
        keeper = self.process if self.process is not None and _by_the_process(plan) else self.threads
        return keeper.desk(folder, model.vision, level if model.agent_profile == "code" else None)

    async def _open(
        self, plan: _Planned, identifier: str, desk: DeskHere | DeskThere, level: str
    ) -> dict[str, Any]:  # fmt: skip
        """Take the attempt, as soon as no other process has it."""
        task = plan.task
        attachments = [str(p) for p in task.job.attachments]
        previous = (
            [(d.path, str(task.previous.folder / "deliverables" / d.path)) for d in task.previous.deliverables]
            if task.previous
            else []
        )
        toolbox = await asyncio.to_thread(sandbox.libraries, level) if task.model.agent_profile == "code" else ()
        config = _config(plan, identifier, level, toolbox)
        while True:
            try:
                opened: dict[str, Any] = await desk.do("open", attachments, previous, config)
                return opened | {"toolbox": toolbox}
            except BlockingIOError as error:
                if self.stopping:
                    raise StoppedError from error
                await asyncio.sleep(_LOCK_WAIT)

    async def _resume(
        self, plan: _Planned, identifier: str, folder: Path, desk: DeskHere | DeskThere, opened: dict[str, Any],
        gate: Gate,
    ) -> Result:  # fmt: skip
        """Run the attempt's loop, over what the log holds already and then over new calls."""
        task, level = plan.task, _level(plan.task.model)
        material = [[(str(name), int(size)) for name, size in opened[key]] for key in ("attachments", "previous")]
        if task.model.agent_profile == "command":
            brief = prompt.brief_file(task, *material)
            usual = self._usual(plan)
            await self.budget.set_aside(usual, self._stopping)
            state, reason = await asyncio.to_thread(self._command, plan, folder, brief, level, usual)
        else:
            told = prompt.system_prompt(task.model.agent_profile, opened["toolbox"])
            brief = prompt.first_message(task, *material)
            state = Conversation([{"role": "system", "content": told}, {"role": "user", "content": brief}])
            ask = partial(self._ask, plan, identifier, desk, dict(opened["outcomes"]), gate, state)
            reason = await converse(state, self.limits, ask, partial(_acted, desk))
        record = record_of(_result(plan, identifier, folder, state, reason))
        return result_of(await desk.do("finish", record), folder)

    def _command(
        self, plan: _Planned, folder: Path, brief: str, level: str, aside: float
    ) -> tuple[Conversation, str]:  # fmt: skip
        """Run the program that the model is, for which `aside` USD were set aside; what it used, the finish reason."""
        cost: float | None = None
        try:
            ended = run_command(plan.task, folder, brief, self.limits.max_seconds, level)
            cost = ended.cost_usd
        finally:
            self.budget.settle(aside, cost)
        (folder / "output.txt").write_text(redact(ended.output), "utf-8", errors="replace")
        state = Conversation([], seconds=ended.seconds, cost_usd=ended.cost_usd, model_snapshot=ended.model_snapshot)
        for name, count in ended.counts.items():
            setattr(state, name, count)
        self.spent += cost or 0.0
        return state, ended.finish_reason

    async def _ask(
        self, plan: _Planned, identifier: str, desk: DeskHere | DeskThere, outcomes: dict[int, dict[str, Any]],
        gate: Gate, state: Conversation, step: int, messages: list[dict[str, Any]],
    ) -> dict[str, Any]:  # fmt: skip
        """The outcome of a step: the recorded one, or a new call's."""
        if step in outcomes:
            return outcomes[step]
        key = f"{identifier}-{step}"
        left = _LAST_TURN_SECONDS if state.last_turn else self.limits.max_seconds - state.seconds
        record = await self._call(plan, desk, gate, step, key, left, messages)
        if record["event"] == "failure":
            record["wall"] = record["seconds"] >= left
        await desk.do("outcome", step, record)
        return record

    async def _call(
        self, plan: _Planned, desk: DeskHere | DeskThere, gate: Gate, step: int, key: str, left: float,
        messages: list[dict[str, Any]],
    ) -> dict[str, Any]:  # fmt: skip
        """A new call, within the budget."""
        tools = CODE_TOOLS if plan.task.model.agent_profile == "code" else TOOLS
        aside = provider.most_usd(plan.endpoint, provider.tokens_of(messages, tools), plan.price)
        await self.budget.set_aside(aside, self._stopping)
        cost: float | None = None
        try:
            record = await provider.ask(
                plan.endpoint, messages, tools, key, left, POLICY, gate, self._stopping,
                halted=lambda: plan.task.model.name in self.halted,
                about_to_call=lambda: desk.do("intend", step, key), may_set_aside=not plan.was_aside,
            )  # fmt: skip
            if record["event"] == "reply":
                cost = record["cost_usd"] = provider.cost_of(record["usage"], plan.price)
                self.spent += cost or 0.0
        except (provider.OperatorError, StoppedError) as error:
            if isinstance(error, provider.OperatorError):  # now, before those that wait for the gate have their turn
                self.halted.setdefault(plan.task.model.name, str(error))
            why = redact(str(error), plan.endpoint.secret)
            await desk.do("unanswered", step, why, getattr(error, "maybe_billed", 0))
            raise
        finally:
            self.budget.settle(aside, cost)
        return record


async def _acted(desk: DeskHere | DeskThere, step: int) -> Acted:
    return Acted.of(await desk.do("act", step))


def _result(plan: _Planned, identifier: str, folder: Path, state: Conversation, reason: str) -> Result:
    """The result, but for what its files and its log tell."""
    task = plan.task
    return Result(
        attempt_id=identifier, job_id=task.job.job_id, model=task.model.name, round=task.round,
        turn=task.turn, arm=task.arm, try_number=plan.try_number,
        status=status_of(reason), finish_reason=reason,
        steps=state.steps, prompt_tokens=state.prompt_tokens, completion_tokens=state.completion_tokens,
        cached_tokens=state.cached_tokens, reasoning_tokens=state.reasoning_tokens,
        cost_usd=state.cost_usd,
        seconds=round(state.seconds, 3), deliverables=(), request_sha256=plan.sha,
        previous_attempt_id=task.previous.attempt_id if task.previous else None,
        model_snapshot=state.model_snapshot, agent_profile=task.model.agent_profile, sandbox=_level(task.model),
        code_version=__version__, finished_at=datetime.now(UTC), simulated=task.model.simulated,
        maybe_billed_steps=0, folder=folder,
    )  # fmt: skip


def _left_because(error: StoppedError, gate: Gate) -> str:
    """The key of `left` for an attempt that stays as it is."""
    if isinstance(error, PoolLeftError):
        return f"pool {gate.name}"
    return "begun" if isinstance(error, CeilingError) else "stopped"


def _config(plan: _Planned, identifier: str, level: str, toolbox: Sequence[tuple[str, str]]) -> str:
    """What was asked, for people who look into the folder; its `request` hashes to the request's SHA-256."""
    config = {
        "attempt_id": identifier,
        "try_number": plan.try_number,
        "request_sha256": plan.sha,
        "request": plan.identity,
        "api_base": plan.task.model.api_base,
        "cohort": plan.task.cohort,
    }
    if level != "none":
        config |= {"sandbox": sandbox.probe().record(), "toolbox": dict(toolbox)}
    return without_secret(json.dumps(config), plan.endpoint.secret)
