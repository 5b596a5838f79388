"""Attempts through litellm against real loopback servers. The one test file that imports litellm."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline.agents import provider, run
from hapi_pipeline.agents.ledger import AttemptLedger, Result
from hapi_pipeline.agents.run import Progress, run_tasks
from hapi_pipeline.agents.tasks import Feedback, Task, attempt_id, request_sha256
from hapi_pipeline.registry import AgentLimits, Model, Pool, Price
from hapi_pipeline.settings import UserError

LIMITS = AgentLimits()
Answer = tuple[int, dict[str, str], bytes]
WRITE = ("write_file", {"path": "a.md", "content": "The work."})
FINISH = ("finish", {"summary": "Done.", "deliverables": ["a.md"]})


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "POLICY", provider.CallPolicy(tries=3, first_wait=0.01, longest_retry_after=0.05))


def texts(result: Result) -> str:
    from hapi_pipeline.agents.documents import document_text

    return "\n".join(document_text(result.folder / "deliverables" / d.path) for d in result.deliverables)


def steps(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (result.folder / "steps.jsonl").read_text().splitlines()]


CHILD = """
import sys
from datetime import date
from pathlib import Path
from hapi_pipeline.agents.ledger import AttemptLedger
from hapi_pipeline.agents.run import run_tasks
from hapi_pipeline.agents.tasks import Job, Task
from hapi_pipeline.registry import AgentLimits, Model, Pool, Price
model = Model("Sim One", "hosted_vllm/sim-one", prices=(Price(date(2020, 1, 1), input=1.0, output=10.0),),
              pool=Pool("sim", concurrency=4), api_base="simulated")
text = "Make a clean table of the sales."
job = lambda n: Job(f"J{n}", "Tidy a table", text, "Data Entry", None, ("excel",))
tasks = [Task(job(n), model, "2026-03", "agent_alone", 0, "human") for n in range(30)]
run_tasks(tasks, AttemptLedger(Path(sys.argv[1])), AgentLimits(), simulated_base=sys.argv[2])
"""


def _child(ledger: AttemptLedger, base: str) -> subprocess.Popen[bytes]:
    root = str(Path(run.__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(ledger.root), base],
        env={**os.environ, "PYTHONPATH": root}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _killed_once(condition: Callable[[], bool], child: subprocess.Popen[bytes]) -> bool:
    """Kill the child as soon as the condition holds; False when it ended or dawdled before."""
    deadline = time.monotonic() + 60
    while not condition() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    in_time = condition() and child.poll() is None
    child.send_signal(signal.SIGKILL)
    return in_time


def test_a_killed_run_goes_on_without_paying_twice(
    ledger: AttemptLedger, slow_simulated: Any, make_task: Callable[..., Task]
) -> None:
    child = _child(ledger, slow_simulated.base)
    with ThreadPoolExecutor(1) as watch:  # in a thread, so that both processes import litellm at the same time
        killed = watch.submit(_killed_once, lambda: len(slow_simulated.lines()) >= 13, child)
        provider.prepare_litellm()
        assert killed.result(), child.communicate()[1].decode()
    child.communicate()
    tasks = [make_task(f"J{n}") for n in range(30)]
    before = len(ledger.results(tasks[0].model.key, "agent_alone"))
    assert 0 < before < 30
    results = run_tasks(tasks, ledger, LIMITS, simulated_base=slow_simulated.base)
    assert [r.job_id for r in results] == [t.job.job_id for t in tasks]
    events = Counter((line["key"], line["event"]) for line in slow_simulated.lines())
    billed = [key for key, event in events if event == "billed"]
    assert len(billed) == sum(r.steps for r in results)
    assert set(events.values()) == {1}, "each key is billed once, and replayed once at most"
    replayed = [key for key, event in events if event == "replayed"]
    lost = sum(r.maybe_billed_steps for r in results)
    assert len(replayed) <= lost <= 4  # no more than were under way
    clean = AttemptLedger(ledger.root.with_name("clean"))
    undisturbed = run_tasks(tasks, clean, LIMITS, simulated_base=slow_simulated.base)
    assert [r.deliverables for r in results] == [r.deliverables for r in undisturbed]
    assert [r.cost_usd for r in results] == [r.cost_usd for r in undisturbed]


def test_every_round_hands_in_what_the_world_lets_it_meet(
    ledger: AttemptLedger, simulated: Any, make_task: Callable[..., Task]
) -> None:
    first = make_task()
    [alone] = run_tasks([first], ledger, LIMITS, simulated_base=simulated.base)
    feedback = Feedback((("Point 9 of J1 is <done> & checked", "It is missing."),), "Nearly.")
    rest = [
        replace(first, round="feedback_1", turn=1, feedback=feedback, previous=alone),
        replace(first, round="feedback_2", turn=2, feedback=feedback, previous=alone),
        replace(first, round="retry_1", turn=1, arm="control", previous=alone),
    ]
    results = [alone, *run_tasks(rest, ledger, LIMITS, simulated_base=simulated.base)]
    assert [r.round for r in results] == ["agent_alone", "feedback_1", "feedback_2", "retry_1"]
    met = [sum(f"Point {n} of J1 is <done> & checked" in texts(r) for n in range(10)) for r in results]
    assert met == [3, 7, 10, 4]
    for result in results:
        assert (result.status, result.finish_reason, result.simulated) == ("done", "finished", True)
        assert result.model_snapshot == "sim-one"
        assert result.cost_usd == pytest.approx((result.prompt_tokens + 10 * result.completion_tokens) / 1e6)
    assert results[1].previous_attempt_id == alone.attempt_id
    assert ledger.results(first.model.key, "feedback_1") == [results[1]]


def test_what_is_in_the_ledger_is_never_asked_again(
    ledger: AttemptLedger, simulated: Any, make_task: Callable[..., Task]
) -> None:
    tasks = [make_task(f"J{n}") for n in range(12)]
    seen: list[Progress] = []
    told: list[str] = []
    where = threading.current_thread()

    def on_result(task: Task, result: Result) -> None:
        assert threading.current_thread() is where
        told.append(task.job.job_id)

    first = run_tasks(
        tasks, ledger, LIMITS, simulated_base=simulated.base, on_result=on_result, on_progress=seen.append
    )
    asked = len(simulated.lines())
    assert asked == sum(r.steps for r in first)
    again = run_tasks(tasks, AttemptLedger(ledger.root), LIMITS, simulated_base=simulated.base, on_result=on_result)
    assert again == first
    assert len(simulated.lines()) == asked
    assert sorted(told) == sorted(t.job.job_id for t in tasks)
    assert (seen[-1].done, seen[-1].total, seen[-1].infra, seen[-1].seconds_left) == (12, 12, 0, 0.0)
    assert seen[-1].cost_usd == pytest.approx(sum(r.cost_usd or 0 for r in first))
    assert all(ledger.find(t, LIMITS) == r for t, r in zip(tasks, first, strict=True))


def test_the_same_task_twice_in_one_run_is_one_attempt(
    ledger: AttemptLedger, simulated: Any, make_task: Callable[..., Task]
) -> None:
    one, two = run_tasks([make_task(), make_task()], ledger, LIMITS, simulated_base=simulated.base)
    assert one == two
    assert len(simulated.lines()) == one.steps


def test_an_interrupt_lets_running_attempts_end(
    ledger: AttemptLedger, slow_simulated: Any, make_task: Callable[..., Task]
) -> None:
    tasks = [make_task(f"J{n}") for n in range(30)]

    def interrupt(task: Task, result: Result) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks(tasks, ledger, LIMITS, simulated_base=slow_simulated.base, on_result=interrupt)
    results = ledger.results(tasks[0].model.key, "agent_alone")
    assert 1 <= len(results) <= 9
    assert len(slow_simulated.lines()) == sum(r.steps for r in results), "nothing under way was thrown away"


def test_max_usd_starts_nothing_more_once_it_is_reached(
    ledger: AttemptLedger, simulated: Any, make_task: Callable[..., Task]
) -> None:
    one_by_one = replace(make_task().model, pool=Pool("sim", concurrency=1))
    tasks = [make_task(f"J{n}", model=one_by_one) for n in range(20)]
    results = run_tasks(tasks, ledger, LIMITS, simulated_base=simulated.base, max_usd=0.02)
    spent = [r.cost_usd or 0 for r in results]
    assert 1 < len(results) < 20
    assert sum(spent[:-1]) < 0.02 <= sum(spent)
    assert run_tasks(tasks, AttemptLedger(ledger.root), LIMITS, simulated_base=simulated.base, max_usd=0) == results


def stubbed(task: Task, base: str, **changes: Any) -> Task:
    model = replace(task.model, api_base=base, api_key_env="STUB_KEY", pool=Pool("stub", concurrency=2), **changes)
    return replace(task, model=model)


HALF = '{"path": "a.md", "content": "\\ud83d"}'  # half of a character
SECRET = "tok-4815162342-very-secret"


@pytest.fixture
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_KEY", SECRET)


def endless() -> Iterator[bytes]:
    while True:
        time.sleep(0.05)
        yield b" "


@pytest.mark.usefixtures("_key")
@pytest.mark.parametrize(
    ("fault", "status", "reason", "calls"),
    [
        ("429 then fine", "done", "finished", 2),
        ("500 then fine", "done", "finished", 2),
        ("always 503", "infra", "provider_error", 3),
        ("always 429, wait an hour", "infra", "provider_error", 3),
        ("not JSON", "infra", "provider_error", 3),
        ("bad request", "infra", "provider_error", 1),
        ("empty choices", "done", "format_errors", 3),
        ("null message", "done", "format_errors", 3),
        ("plain talk", "done", "format_errors", 3),
        ("malformed arguments once", "done", "finished", 2),
        ("malformed arguments always", "done", "format_errors", 3),
        ("content filter", "done", "refused", 3),
        ("cut off, then fine", "done", "finished", 2),
        ("context overflow", "done", "context_overflow", 1),
        ("lone surrogates", "done", "finished", 1),
    ],
)
def test_a_fault_of_the_provider_ends_in_a_typed_attempt(
    fault: str, status: str, reason: str, calls: int, ledger: AttemptLedger, stub: Any, replied: Any,
    make_task: Callable[..., Task],
) -> None:  # fmt: skip
    good: Answer = (200, {}, replied(WRITE, FINISH))
    broken: Answer = (200, {}, replied(("write_file", '{"path": "a.md", "content": "The')))
    too_long = {
        "error": {
            "message": "This model's maximum context length is 9 tokens.",
            "code": "context_length_exceeded",
        }
    }
    answers: dict[str, Callable[[int], Answer]] = {
        "429 then fine": lambda n: (429, {"Retry-After": "0.02"}, b"{}") if n == 1 else good,
        "500 then fine": lambda n: (500, {}, b"oops") if n == 1 else good,
        "always 503": lambda n: (503, {}, b'{"error": {"message": "tok-4815162342-very-secret is busy"}}'),
        "always 429, wait an hour": lambda n: (429, {"Retry-After": "3600"}, b"{}"),
        "not JSON": lambda n: (200, {}, b"<html>hello</html>"),
        "bad request": lambda n: (400, {}, b'{"error": {"message": "no, not with sk-abcdefghijklmnop1234"}}'),
        "empty choices": lambda n: (200, {}, json.dumps({**json.loads(replied()), "choices": []}).encode()),
        "null message": lambda n: (200, {}, replied(finish="stop")),
        "plain talk": lambda n: (200, {}, replied(content="Certainly, I will begin at once.", finish="stop")),
        "malformed arguments once": lambda n: broken if n == 1 else good,
        "malformed arguments always": lambda n: broken,
        "content filter": lambda n: (200, {}, replied(content="I cannot.", finish="content_filter")),
        "cut off, then fine": lambda n: (200, {}, replied(*[WRITE], finish="length")) if n == 1 else good,
        "context overflow": lambda n: (400, {}, json.dumps(too_long).encode()),
        "lone surrogates": lambda n: (
            200, {}, replied(("write_file", HALF), FINISH, content="\ud800")
        ),
    }  # fmt: skip
    server = stub(lambda n, body: answers[fault](n))
    [result] = run_tasks([stubbed(make_task(), server.base)], ledger, LIMITS)
    assert (result.status, result.finish_reason, len(server.requests)) == (status, reason, calls), steps(result)
    assert result.simulated is False
    keys = {h["idempotency-key"] for h in server.headers}
    assert keys <= {f"{result.attempt_id}-{n}" for n in range(1, 10)}
    paid = sum(line["event"] == "reply" for line in steps(result))
    assert result.cost_usd == pytest.approx(paid * (1000 * 1.0 + 100 * 10.0) / 1e6)
    for path in result.folder.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes()
            assert b"sk-abcdefgh" not in path.read_bytes()


@pytest.mark.usefixtures("_key")
def test_a_reply_that_never_ends_is_cut_at_the_time_limit(
    ledger: AttemptLedger, stub: Any, make_task: Callable[..., Task]
) -> None:
    server = stub(lambda n, body: (200, {}, endless()))
    [result] = run_tasks([stubbed(make_task(), server.base)], ledger, AgentLimits(max_seconds=0.4))
    assert (result.status, result.finish_reason, result.deliverables) == ("done", "limit_wall", ())


@pytest.mark.usefixtures("_key")
@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_model_that_is_turned_down_altogether_stops_and_says_so(
    status: int, ledger: AttemptLedger, stub: Any, make_task: Callable[..., Task]
) -> None:
    message = {"error": {"message": f"Incorrect key: {SECRET}"}}
    server = stub(lambda n, body: (status, {}, json.dumps(message).encode()))
    tasks = [stubbed(make_task(f"J{n}"), server.base) for n in range(20)]
    with pytest.raises(UserError, match="STUB_KEY") as caught:
        run_tasks(tasks, ledger, LIMITS)
    assert SECRET not in str(caught.value)
    assert len(server.requests) <= 2
    assert ledger.results(tasks[0].model.key, "agent_alone") == [], "it can be mended, so no try is used up"


@pytest.mark.usefixtures("_key")
def test_an_infrastructure_failure_is_tried_again_under_a_new_number(
    ledger: AttemptLedger, stub: Any, make_task: Callable[..., Task]
) -> None:
    server = stub(lambda n, body: (400, {}, b"{}"))
    task = stubbed(make_task(), server.base)
    ids = []
    for number in (1, 2, 3):
        assert ledger.find(task, LIMITS) is None
        [result] = run_tasks([task], ledger, LIMITS)
        assert (result.try_number, result.status) == (number, "infra")
        ids.append(result.attempt_id)
    assert ids == [attempt_id(request_sha256(task, LIMITS), n) for n in (1, 2, 3)]
    assert run_tasks([task], ledger, LIMITS) == [ledger.find(task, LIMITS)]
    assert len(server.requests) == 3


@pytest.mark.usefixtures("_key")
def test_what_is_sent_holds_the_job_and_nothing_that_would_give_the_test_away(
    ledger: AttemptLedger, stub: Any, replied: Any, make_task: Callable[..., Task], tmp_path: Path
) -> None:
    attachment = tmp_path / "sales 2026.csv"
    attachment.write_text("region,total\nnorth,12\n")
    server = stub(lambda n, body: (200, {}, replied(WRITE, FINISH)))
    price = (Price(make_task().model.prices[0].valid_from, input=4321.5, output=8765.25),)
    task = stubbed(make_task(attachments=(attachment,)), server.base, prices=price)
    run_tasks([task], ledger, LIMITS)
    [sent] = server.requests
    brief = sent["messages"][1]["content"]
    assert brief.startswith("Job reference: J1\nAttempt: 1\n")
    assert "Make a clean table of the sales." in brief
    assert "- attachments/sales_2026.csv (22 bytes)" in brief
    assert "## Feedback on your previous attempt" not in brief
    assert server.headers[0]["authorization"] == f"Bearer {SECRET}"
    everything = json.dumps(sent)
    for word in (SECRET, "4321.5", "8765.25", "Sim One", "rubric", "2026-03", "max_cost", "stub"):
        assert word not in everything
    assert sent["max_tokens"] == task.model.max_tokens


@pytest.mark.usefixtures("_key")
def test_limits_give_one_last_turn_and_keep_what_is_there(
    ledger: AttemptLedger, stub: Any, replied: Any, make_task: Callable[..., Task]
) -> None:
    server = stub(lambda n, body: (200, {}, replied(WRITE)))
    task = stubbed(make_task(), server.base)
    for limits, reason, calls in (
        (AgentLimits(max_steps=3), "limit_steps", 4),
        (AgentLimits(max_cost_usd=0.003), "limit_cost", 3),
        (AgentLimits(max_tokens=2000), "limit_tokens", 3),
    ):
        server.requests.clear()
        [result] = run_tasks([task], ledger, limits)
        assert (result.finish_reason, result.status, len(server.requests)) == (reason, "done", calls)
        assert [d.path for d in result.deliverables] == ["a.md"]
        assert "last reply" in server.requests[-1]["messages"][-1]["content"]


def test_a_model_that_cannot_be_run_is_refused_before_anything_is_spent(
    ledger: AttemptLedger, simulated: Any, make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAPI_SANDBOX", "off")
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    good = make_task().model
    for broken, told in (
        (replace(good, api_base=None, prices=()), "no price"),
        (replace(good, api_base=None, api_key_env="NO_SUCH_KEY"), "NO_SUCH_KEY"),
        (replace(good, agent_profile="code"), "sandbox"),
        (replace(good, litellm=None), "external"),
        (replace(good, parameters={"max_retries": 9}), "max_retries"),
    ):
        with pytest.raises(UserError, match=told):
            run_tasks([make_task(), make_task("J2", model=broken)], ledger, LIMITS, simulated_base=simulated.base)
    with pytest.raises(UserError, match="no simulated provider"):
        run_tasks([make_task()], ledger, LIMITS)
    assert simulated.lines() == []
    assert not ledger.root.exists()


def test_a_simulated_model_may_lack_a_price(
    ledger: AttemptLedger, simulated: Any, make_task: Callable[..., Task]
) -> None:
    free: Model = replace(make_task().model, prices=())
    [result] = run_tasks([make_task(model=free)], ledger, LIMITS, simulated_base=simulated.base)
    assert (result.cost_usd, result.finish_reason) == (None, "finished")


@pytest.mark.usefixtures("_key")
def test_nothing_is_printed_or_logged_about_conversations(
    ledger: AttemptLedger, stub: Any, make_task: Callable[..., Task], capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    server = stub(lambda n, body: (500, {}, b"{}"))
    with caplog.at_level(logging.INFO):
        run_tasks([stubbed(make_task(), server.base)], ledger, LIMITS)
    printed = capfd.readouterr()
    assert "clean table" not in printed.out + printed.err + caplog.text
    assert printed.out == ""


@pytest.mark.usefixtures("_key")
def test_an_outage_stops_one_model_and_leaves_the_others_alone(
    ledger: AttemptLedger, stub: Any, replied: Any, make_task: Callable[..., Task]
) -> None:
    down = stub(lambda n, body: (400, {}, b"{}"))
    up = stub(lambda n, body: (200, {}, replied(WRITE, FINISH)))
    lost = [stubbed(make_task(f"J{n}"), down.base, name="Down") for n in range(run.OUTAGE + 20)]
    fine = [stubbed(make_task(f"J{n}"), up.base, name="Up") for n in range(5)]
    told: list[Result] = []
    with pytest.raises(UserError, match="Down: 20 attempts in a row"):
        run_tasks([*lost, *fine], ledger, LIMITS, on_result=lambda task, result: told.append(result))
    assert run.OUTAGE <= len(down.requests) <= run.OUTAGE + 2
    assert sum(r.finish_reason == "finished" for r in told) == 5
    assert sum(r.status == "infra" for r in told) == len(down.requests)
