"""The loop over recorded replies, without any provider."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hapi_pipeline.agents.calls import calls_of, carried_out
from hapi_pipeline.agents.desk import Acted
from hapi_pipeline.agents.loop import Conversation, converse, elide
from hapi_pipeline.agents.prompt import fenced
from hapi_pipeline.agents.provider import cost_of
from hapi_pipeline.agents.tools import Workspace
from hapi_pipeline.registry import AgentLimits, Price

LIMITS = AgentLimits()
USAGE = {"prompt": 10, "completion": 5, "cached": 0, "written": 0, "reasoning": 0}


def reply(*calls: tuple[str, Any], finish: str = "tool_calls", **message: Any) -> dict[str, Any]:
    made = [
        {
            "id": f"c{n}",
            "type": "function",
            "function": {"name": name, "arguments": a if isinstance(a, str) else json.dumps(a)},
        }
        for n, (name, a) in enumerate(calls)
    ]
    told = {"role": "assistant", "content": None, **({"tool_calls": made} if made else {}), **message}
    return {
        "event": "reply", "message": told, "finish_reason": finish, "usage": USAGE, "cost_usd": 0.01,
        "seconds": 1.0, "model": "m",
    }  # fmt: skip


def failure(kind: str) -> dict[str, Any]:
    return {"event": "failure", "kind": kind, "message": "no", "seconds": 0.0}


WRITE = ("write_file", {"path": "a.md", "content": "x" * 1000})
FINISH = ("finish", {"summary": "", "deliverables": ["a.md"]})
BROKEN = ("write_file", '{"path": "a.md", "content": "x')


def play(folder: Path, *records: dict[str, Any], limits: AgentLimits = LIMITS) -> tuple[str, Conversation]:
    state = Conversation([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}])
    workspace = Workspace(folder)
    workspace.prepare([], [])
    waiting: list[dict[str, Any]] = list(records)
    made: list[dict[str, Any]] = []

    async def ask(step: int, messages: list[dict[str, Any]]) -> dict[str, Any]:
        assert step == len(records) - len(waiting) + 1
        json.dumps(messages)
        for message in messages:  # what would make the next call fail
            for called in message.get("tool_calls") or []:
                assert isinstance(json.loads(called["function"]["arguments"]), dict)
        made.append(waiting.pop(0))
        return made[-1]

    async def act(step: int) -> Acted:
        record = made[step - 1]
        answers = carried_out(workspace, calls_of(record["message"]), record["finish_reason"] == "length")
        return Acted(answers, finished=workspace.finished)

    reason = asyncio.run(converse(state, limits, ask, act))
    assert not waiting
    return reason, state


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([reply(WRITE, FINISH)], "finished"),
        ([reply(WRITE), reply(("check_deliverables", "")), reply(FINISH)], "finished"),
        ([reply(FINISH), reply(FINISH), reply(FINISH)], "finished_unchecked"),
        (
            [reply(BROKEN), reply(BROKEN), reply(WRITE, BROKEN), reply(BROKEN), reply(WRITE, FINISH)],
            "finished",
        ),
        ([reply(BROKEN), reply(content="hm"), reply(content="")], "format_errors"),
        ([reply(("write_file", "[1]"))] * 3, "format_errors"),
        ([reply(("no_such_tool", {})), reply(WRITE, FINISH)], "finished"),
        ([reply(finish="content_filter")] * 3, "refused"),
        ([reply(refusal="no")] * 2 + [reply(WRITE, FINISH)], "finished"),
        ([failure("policy")] * 3, "refused"),
        ([failure("context")], "context_overflow"),
        ([reply(WRITE), reply(WRITE), reply(WRITE), failure("context"), reply(FINISH)], "finished"),
        (
            [reply(WRITE), reply(WRITE), reply(WRITE), failure("context"), failure("context")],
            "context_overflow",
        ),
        ([failure("provider")], "provider_error"),
        ([reply(WRITE), failure("timeout")], "provider_error"),
        ([reply(WRITE), {**failure("timeout"), "wall": True}], "limit_wall"),
    ],
)
def test_how_an_attempt_ends(records: list[dict[str, Any]], reason: str, tmp_path: Path) -> None:
    ended, state = play(tmp_path, *records)
    assert ended == reason
    assert state.steps == len(records)
    paid = sum(r["event"] == "reply" for r in records)
    assert (state.prompt_tokens, state.completion_tokens) == (10 * paid, 5 * paid)
    assert state.cost_usd == pytest.approx(0.01 * paid)


def test_limits_end_with_one_more_turn(tmp_path: Path) -> None:
    for limits, reason in (
        (AgentLimits(max_steps=1), "limit_steps"),
        (AgentLimits(max_cost_usd=0.01), "limit_cost"),
        (AgentLimits(max_seconds=1.0), "limit_wall"),
        (AgentLimits(max_tokens=15), "limit_tokens"),
    ):
        assert play(tmp_path, reply(WRITE), reply(FINISH), limits=limits)[0] == reason
        assert play(tmp_path, reply(WRITE), failure("timeout"), limits=limits)[0] == reason


def test_nothing_is_done_after_the_work_is_handed_in(tmp_path: Path) -> None:
    play(tmp_path, reply(WRITE, FINISH, ("write_file", {"path": "late.md", "content": "x"})))
    assert not (tmp_path / "deliverables/late.md").exists()


def test_every_tool_call_has_an_answer_and_ids_are_kept(tmp_path: Path) -> None:
    _, state = play(tmp_path, reply(BROKEN, WRITE), reply(FINISH))
    called = [c["id"] for m in state.messages for c in m.get("tool_calls") or []]
    answered = [m["tool_call_id"] for m in state.messages if m["role"] == "tool"]
    assert called == answered


def test_eliding_keeps_the_brief_and_the_end() -> None:
    long = {"role": "tool", "tool_call_id": "c", "content": "y" * 1000}
    messages = [
        {"role": "system", "content": "s" * 1000},
        {"role": "user", "content": "u" * 1000},
        *[dict(long)] * 6,
    ]
    assert elide(messages)
    assert [len(m["content"]) > 999 for m in messages] == [True, True, False, False, False, True, True, True]
    assert not elide(messages)


@given(st.text(st.sampled_from("JOB-<>\nab0123"), max_size=60))
def test_a_fence_cannot_be_closed_from_inside(text: str) -> None:
    made = fenced("JOB", text)
    marker = made.splitlines()[0].removeprefix("<<<")
    assert made.count(marker) == 2
    assert made == f"<<<{marker}\n{text}\n{marker}>>>"


def test_cached_tokens_have_their_own_price() -> None:
    price = Price(
        valid_from=date(2020, 1, 1),
        input=2.0,
        output=8.0,
        cached_read=0.5,
        cache_write=3.0,
    )
    usage = {"prompt": 1000, "completion": 100, "cached": 400, "written": 200, "reasoning": 50}
    assert cost_of(usage, price) == pytest.approx((400 * 2.0 + 400 * 0.5 + 200 * 3.0 + 100 * 8.0) / 1e6)
    assert cost_of({**usage, "cached": 5000}, price) == pytest.approx((1000 * 0.5 + 100 * 8.0) / 1e6)
    assert cost_of(usage, None) is None
