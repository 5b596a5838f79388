"""The control arm: a second try that differs from the one with feedback in the feedback and in nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hapi_pipeline.agents.ledger import AttemptLedger
from hapi_pipeline.agents.prompt import FEEDBACK_HEADING
from hapi_pipeline.agents.run import run_tasks
from hapi_pipeline.agents.tasks import Feedback, Task, request_identity
from hapi_pipeline.registry import AgentLimits
from hapi_pipeline.rounds import ROUND

LIMITS = AgentLimits()
PLAN: tuple[tuple[tuple[str, dict[str, Any]], ...], ...] = (
    (("list_files", {}), ("read_attachment", {"path": "previous/a.md"})),
    (("write_file", {"path": "a.md", "content": "The work."}), ("check_deliverables", {})),
    (("finish", {"summary": "Done.", "deliverables": ["a.md"]}),),
)


def script(replied: Callable[..., bytes]) -> Callable[[int, dict[str, Any]], tuple[int, dict[str, str], bytes]]:
    def answer(_: int, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        step = sum(m["role"] == "assistant" for m in body["messages"])
        return 200, {}, replied(*PLAN[step])

    return answer


def in_round(first: Task, name: str, **changes: Any) -> Task:
    this = ROUND[name]
    return replace(first, round=name, turn=this.turn, arm=this.arm, **changes)


def test_what_the_control_arm_is_sent_is_the_same_but_for_the_feedback(
    ledger: AttemptLedger, stub: Callable[..., Any], make_task: Callable[..., Task], replied: Callable[..., bytes]
) -> None:
    server, first = stub(script(replied)), make_task()
    [alone] = run_tasks([first], ledger, LIMITS, simulated_base=server.base)
    feedback = Feedback((("The totals add up", "They do not."),), "Nearly there.")
    sent = {}
    helped = in_round(first, "feedback_1", feedback=feedback, previous=alone)
    for task in (helped, in_round(first, "retry_1", previous=alone)):
        server.requests.clear()
        [made] = run_tasks([task], ledger, LIMITS, simulated_base=server.base)
        assert (made.finish_reason, made.steps, made.previous_attempt_id) == ("finished", 3, alone.attempt_id)
        sent[task.round] = json.loads(json.dumps(server.requests))
    briefs = {}
    for name, requests in sent.items():
        said = {request["messages"][1].pop("content") for request in requests}
        assert len(said) == 1, "the brief stays the same from step to step"
        (briefs[name],) = said
    assert sent["feedback_1"] == sent["retry_1"], "system text, tools, settings and every later message"
    same, heading, told = briefs["feedback_1"].partition(f"\n\n{FEEDBACK_HEADING}")
    assert heading
    assert "They do not." in told
    assert briefs["retry_1"] == same
    assert "previous/a.md" in same


def test_the_two_arms_are_different_attempts_of_one_question(make_task: Callable[..., Task]) -> None:
    first = make_task()
    helped = request_identity(in_round(first, "feedback_1", feedback=Feedback((("c", ""),))), LIMITS)
    control = request_identity(in_round(first, "retry_1"), LIMITS)
    assert {key for key in helped if helped[key] != control[key]} == {"round", "arm", "feedback"}
