"""Pools: rates, the circuit breaker and the ceiling, by themselves and in runs against a loopback server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from hapi_pipeline.agents import pools, provider, run
from hapi_pipeline.agents.ledger import AttemptLedger, Result
from hapi_pipeline.agents.pools import Budget, CeilingError, CircuitPolicy, Gate, PoolLeftError, Rate, StoppedError
from hapi_pipeline.agents.run import Progress, run_tasks
from hapi_pipeline.agents.tasks import Task
from hapi_pipeline.registry import AgentLimits, Pool, Price
from hapi_pipeline.settings import UserError

LIMITS = AgentLimits()
QUICK = CircuitPolicy(failures=5, first_pause=0.05, longest_pause=0.2, total_pause=1.0)
WRITE = ("write_file", {"path": "a.md", "content": "The work."})
FINISH = ("finish", {"summary": "Done.", "deliverables": ["a.md"]})


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "POLICY", provider.CallPolicy(tries=3, first_wait=0.01, longest_retry_after=0.05))
    monkeypatch.setattr(run, "CIRCUIT", QUICK)
    monkeypatch.setattr(run, "_TELL", 0.02)
    monkeypatch.setattr(pools, "_POLL", 0.02)
    monkeypatch.setenv("STUB_KEY", "tok-4815162342-very-secret")


def stubbed(task: Task, base: str, pool: Pool, **changes: Any) -> Task:
    return replace(task, model=replace(task.model, api_base=base, api_key_env="STUB_KEY", pool=pool, **changes))


# ---- rates


def test_requests_are_spread_evenly_and_tokens_leave_room_for_a_burst() -> None:
    requests = Rate(60)
    assert [requests.take(1, 100.0) for _ in range(3)] == [0.0, 1.0, 2.0]
    assert requests.take(1, 110.0) == 0.0
    tokens = Rate(6000, burst_seconds=5.0)  # 100 a second
    assert [tokens.take(400, 100.0) for _ in range(3)] == [0.0, 0.0, 3.0]
    assert Rate(None).take(10**9, 0.0) == 0.0


def test_tokens_are_corrected_by_what_was_used() -> None:
    tokens = Rate(6000)
    tokens.take(100, 100.0)
    tokens.correct(500 - 100)  # the reply was longer than thought
    assert tokens.take(100, 100.0) == pytest.approx(5.0)
    tokens.correct(-100)
    assert tokens.take(100, 100.0) == pytest.approx(5.0)


def test_a_minute_never_holds_more_than_the_rate_and_its_burst() -> None:
    tokens, now, used = Rate(6000, burst_seconds=5.0), 0.0, []
    for amount in [70, 900, 10, 2500, 1, 600] * 20:
        now += tokens.take(amount, now)
        used.append((now, amount))
    for start, _ in used:
        assert sum(a for at, a in used if start <= at < start + 60.0) <= 6000 + 500 + 2500


# ---- the gate


def opened(gate: Gate, pool: Pool, policy: CircuitPolicy = QUICK) -> Gate:
    gate.adopt([pool], policy)
    return gate


async def fail(gate: Gate, times: int) -> None:
    for _ in range(times):
        gate.leave(await gate.enter(1, lambda: False), None, failed=True)


def test_a_pool_is_paused_after_failures_in_a_row_and_opened_by_one_probe() -> None:
    async def story() -> None:
        gate = opened(Gate("p"), Pool("p", 3))
        await fail(gate, 4)
        gate.leave(await gate.enter(1, lambda: False), 5, failed=False)
        await fail(gate, 4)
        assert not gate.paused
        await fail(gate, 1)
        assert gate.paused
        assert gate.next_probe() > 0
        waiting = [asyncio.create_task(gate.enter(1, lambda: False)) for _ in range(3)]
        done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0.1)
        assert len(done) == 1
        assert not any(task.done() for task in others), "only one call finds out whether the provider is back"
        [probe] = [task.result() for task in done]
        gate.leave(probe, 5, failed=False)
        assert not gate.paused
        for task in others:
            gate.leave(await task, 5, failed=False)

    asyncio.run(story())


def test_most_of_the_last_calls_failing_pauses_too() -> None:
    async def story() -> None:
        gate = opened(Gate("p"), Pool("p", 3))
        for n in range(25):
            ticket = await gate.enter(1, lambda: False)
            gate.leave(ticket, None, failed=n % 3 > 0)  # never more than two in a row
            if gate.paused:
                break
        assert n == 19, "as soon as the window is full"

    asyncio.run(story())


def test_pauses_grow_are_bounded_and_end_by_giving_up() -> None:
    async def story() -> list[float]:
        gate = opened(Gate("p"), Pool("p", 3))
        pauses = []
        await fail(gate, 5)
        while gate.given_up is None:
            pauses.append(gate.next_probe())
            await fail(gate, 1)
        with pytest.raises(PoolLeftError, match="left for the next run"):
            await gate.enter(1, lambda: False)
        gate.release()
        assert not opened(gate, Pool("p", 3)).paused, "the next run begins anew"
        return pauses

    pauses = asyncio.run(story())
    assert pauses[0] < pauses[1] < pauses[2] <= 0.2 * 1.1
    assert sum(pauses) <= QUICK.total_pause


def test_the_providers_own_wish_for_a_pause_is_heard_within_bounds() -> None:
    async def story(asked: float) -> float:
        gate = opened(Gate("p"), Pool("p", 3), replace(QUICK, longest_retry_after=30.0, total_pause=1000.0))
        for _ in range(5):
            gate.leave(await gate.enter(1, lambda: False), None, failed=True, asked=asked)
        return gate.next_probe()

    assert 9.0 < asyncio.run(story(10.0)) <= 11.0
    assert 29.0 < asyncio.run(story(3600.0)) <= 33.0


def test_calls_of_two_runs_share_the_slots_of_a_pool_and_the_strictest_numbers_hold() -> None:
    async def story() -> int:
        gate = opened(Gate("p"), Pool("p", 9))
        gate.adopt([Pool("p", 2, requests_per_minute=60_000)], QUICK)
        assert gate.concurrency == 2
        under_way = most = 0

        async def call() -> None:
            nonlocal under_way, most
            ticket = await gate.enter(1, lambda: False)
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.002)
            under_way -= 1
            gate.leave(ticket, 1, failed=False)

        await asyncio.gather(*(call() for _ in range(20)))
        return most

    assert asyncio.run(story()) == 2


# ---- the ceiling


def test_the_ceiling_is_exceeded_by_one_call_at_most() -> None:
    async def story() -> Budget:
        budget = Budget(1.0)

        async def call() -> None:
            while True:
                try:
                    await budget.set_aside(0.4, lambda: False)
                except CeilingError:
                    return
                await asyncio.sleep(0.001)
                budget.settle(0.4, 0.3)

        await asyncio.gather(*(call() for _ in range(10)))
        return budget

    budget = asyncio.run(story())
    assert 1.0 <= budget.spent < 1.0 + 0.3


def test_waiting_for_money_ends_when_the_run_does() -> None:
    async def story() -> None:
        budget = Budget(1.0)
        await budget.set_aside(0.9, lambda: False)
        with pytest.raises(StoppedError):
            await budget.set_aside(0.9, lambda: True)

    asyncio.run(story())


def test_rounds_of_one_run_spend_from_one_budget() -> None:
    one = pools.budget_of("run-1", 5.0)
    assert pools.budget_of("run-1", 5.0) is one
    assert pools.budget_of("run-2", 5.0) is not one


# ---- in runs


def test_an_outage_pauses_the_pool_and_burns_no_attempt(
    ledger: AttemptLedger, stub: Any, replied: Any, make_task: Callable[..., Task]
) -> None:
    """The provider is down for the first nine requests: every attempt is done all the same, none as infra."""
    server = stub(lambda n, body: (503, {}, b"{}") if n <= 9 else (200, {}, replied(WRITE, FINISH)))
    tasks = [stubbed(make_task(f"J{n}"), server.base, Pool("shaky", 2)) for n in range(8)]
    seen: list[Progress] = []
    left: list[str] = []
    results = run_tasks(tasks, ledger, LIMITS, on_progress=seen.append, on_left=left.append)
    assert [(r.status, r.finish_reason, r.try_number) for r in results] == [("done", "finished", 1)] * 8
    assert len(server.requests) == 9 + 8
    assert left == []
    told = [p.paused for p in seen if p.paused]
    assert told, "a pause is shown"
    assert all(text.startswith("shaky paused, next probe in ") for text in told)


def test_a_provider_that_stays_down_is_left_and_other_pools_go_on(
    ledger: AttemptLedger, stub: Any, replied: Any, make_task: Callable[..., Task]
) -> None:
    down = stub(lambda n, body: (429, {"Retry-After": "3600"}, b"{}"))
    up = stub(lambda n, body: (200, {}, replied(WRITE, FINISH)))
    policy = replace(QUICK, longest_retry_after=0.1)
    lost = [stubbed(make_task(f"J{n}"), down.base, Pool("down", 3), name="Down") for n in range(40)]
    fine = [stubbed(make_task(f"J{n}"), up.base, Pool("up", 3), name="Up") for n in range(6)]
    left: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "CIRCUIT", policy)
        results = run_tasks([*lost, *fine], ledger, LIMITS, on_left=left.append)
    assert sum(r.model == "Up" and r.status == "done" for r in results) == 6
    burned = [r for r in results if r.model == "Down"]
    assert len(burned) <= 3, "of 40 attempts hardly any is used up"
    assert len(down.requests) < 40
    [sentence] = left
    assert sentence.startswith("down: the provider kept failing")
    assert f"({40 - len(burned)} of them)" in sentence
    with pytest.raises(UserError, match="left for the next run"):
        run_tasks(lost[:3], AttemptLedger(ledger.root), LIMITS)


def test_one_poisoned_attempt_does_not_hold_up_the_others(
    ledger: AttemptLedger, stub: Any, replied: Any, make_task: Callable[..., Task]
) -> None:
    """The provider fails whenever it sees the first job: the others are done, and that one is set down as failed."""

    def script(n: int, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        poisoned = "Job reference: J0\n" in body["messages"][1]["content"]
        return (500, {}, b"{}") if poisoned else (200, {}, replied(WRITE, FINISH))

    server = stub(script)
    tasks = [stubbed(make_task(f"J{n}"), server.base, Pool("one", 1)) for n in range(5)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "CIRCUIT", replace(QUICK, failures=2))
        results = run_tasks(tasks, ledger, LIMITS)
    assert {r.job_id: r.finish_reason for r in results} == {
        "J0": "provider_error", "J1": "finished", "J2": "finished", "J3": "finished", "J4": "finished",
    }  # fmt: skip


def test_all_models_of_a_pool_share_its_slots(
    ledger: AttemptLedger, stub: Any, replied: Any, make_task: Callable[..., Task]
) -> None:
    lock, under_way, most = threading.Lock(), 0, 0

    def script(n: int, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        threading.Event().wait(0.02)
        with lock:
            under_way -= 1
        return 200, {}, replied(WRITE, FINISH)

    server = stub(script)
    tasks = [
        stubbed(make_task(f"J{n}"), server.base, Pool("both", 3), name=name) for n in range(8) for name in ("A", "B")
    ]
    assert len(run_tasks(tasks, ledger, LIMITS)) == 16
    assert most <= 3


def dear(server: Any, make_task: Callable[..., Task], count: int, concurrency: int) -> list[Task]:
    """Tasks of which each call costs $0.02."""
    prices = (Price(date(2020, 1, 1), input=10.0, output=100.0),)
    return [
        stubbed(make_task(f"J{n}"), server.base, Pool("dear", concurrency), prices=prices, max_tokens=200)
        for n in range(count)
    ]


def test_the_ceiling_holds_with_many_attempts_under_way_and_the_next_run_goes_on(
    ledger: AttemptLedger, stub: Any, replied: Any, make_task: Callable[..., Task]
) -> None:
    def script(n: int, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        done = [m for m in body["messages"] if m["role"] == "assistant"]
        return 200, {}, replied(WRITE, FINISH) if len(done) >= 2 else replied(WRITE)

    server = stub(script)
    tasks = dear(server, make_task, 12, 6)
    left: list[str] = []
    first = run_tasks(tasks, ledger, LIMITS, max_usd=0.25, on_left=left.append)
    spent = 0.02 * len(server.requests)
    assert 0.25 <= spent < 0.25 + 0.03
    begun = len(list(ledger.root.rglob("steps.jsonl"))) - len(first)
    [sentence] = left
    assert f"The ceiling of $0.25 is reached (${spent:,.2f} spent): {12 - len(first)} attempts are left" in sentence
    assert (f"{begun} of them begun" in sentence) == bool(begun)
    second = run_tasks(tasks, AttemptLedger(ledger.root), LIMITS)
    assert len(second) == 12
    assert len(server.requests) == 36, "what was paid for is not asked again"
    assert sum(r.cost_usd or 0 for r in second) == pytest.approx(36 * 0.02)


def test_lost_answers_count_as_perhaps_billed_across_runs(
    ledger: AttemptLedger, stub: Any, replied: Any, make_task: Callable[..., Task]
) -> None:
    server = stub(lambda n, body: (502, {}, b"{}") if n <= 2 else (200, {}, replied(WRITE, FINISH)))
    [result] = run_tasks([stubbed(make_task(), server.base, Pool("lossy", 1))], ledger, LIMITS)
    assert (result.finish_reason, result.maybe_billed_steps) == ("finished", 2)
    [reply] = [r for r in _steps(result) if r["event"] == "reply"]
    assert reply["maybe_billed"] == 2


def _steps(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (result.folder / "steps.jsonl").read_text().splitlines()]
