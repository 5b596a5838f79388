"""Every request of a run, in every round, is searched for what no agent may see."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline.agents.ledger import AttemptLedger
from hapi_pipeline.agents.run import run_tasks
from hapi_pipeline.evaluation import OVERALL, Cell, attempt_rows, tasks_of
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import AgentLimits, Benchmark, Model, Pool, Price
from hapi_pipeline.rounds import ROUND, ROUNDS
from tests import scenario
from tests.scenario import COHORT, SCOPE

PRICE = 417.73
SECRET = {
    "the text of a criterion that was met": "canary-met",
    "the id of a criterion": "c_canary_id",
    "the version of the rubric": "canary-rubric-version",
    "the author of the rubric": "canary-author",
    "the grader": "canary-grader",
    "the role of the grader": "adjudicator",
    "the price": "417.73",
    "the client": "canary-client",
    "the importance": "pitfall",
    "a grader's remark on a criterion that was met": "canary-remark",
    "the packet": "canary-packet",
}
FAILED, COMMENT, OVERALL_WORDS = "canary-failed is done", "canary-comment", "canary-overall"
FEEDBACK = (FAILED, COMMENT, OVERALL_WORDS)
REACHES = ("../../../lake/rubrics", "/etc/passwd", "previous/../../config.json", "attachments/../../../steps.jsonl")


def models() -> list[Model]:
    prices = (Price(date(2020, 1, 1), input=1.0, output=10.0),)
    return [
        Model(
            f"Model {name}",
            f"hosted_vllm/m-{name}",
            prices=prices,
            pool=Pool(name, 2),
            api_base="simulated",
            vision=vision,
        )
        for name, vision in (("east", True), ("west", False))
    ]


def work_of(model_id: str) -> str:
    return f"canary-work-of-{model_id}"


@pytest.fixture
def judged(tmp_path: Path) -> Lake:
    """A benchmark of two jobs, with an attachment, whose every row carries canaries."""
    lake = Lake(tmp_path / "home" / "lake")
    jobs = [
        scenario.post(j, price_usd=PRICE, client_id="canary-client", attachments=["note.txt"])
        | {"rubric_version": SECRET["the version of the rubric"], "n_criteria": 2}
        for j in ("j1", "j2")
    ]
    lake.write("benchmark_jobs", scenario.table_of("benchmark_jobs", jobs), SCOPE)
    rubrics = [
        scenario.criterion(j, f"c{n}", "pitfall", text=f"{text} for {j}", author="canary-author", cohort=COHORT,
                           rubric_version=SECRET["the version of the rubric"]) | {"criterion_id": f"c_canary_id{n}"}
        for j in ("j1", "j2") for n, text in enumerate((FAILED, "canary-met is done"))
    ]  # fmt: skip
    lake.write("rubrics", scenario.table_of("rubrics", rubrics), SCOPE)
    for j in ("j1", "j2"):
        folder = tmp_path / "home" / "attachments" / j
        folder.mkdir(parents=True)
        (folder / "note.txt").write_text("Use the blue paper.")
    return lake


def judge(lake: Lake, cell: Cell, attempts: list[dict[str, Any]]) -> None:
    """One criterion failed and one met, by a grader and an adjudicator."""
    rows = []
    for attempt in attempts:
        for number, (criterion, passed, comment) in enumerate(
            (("c_canary_id0", False, f"{COMMENT} for {cell.model.litellm}"), ("c_canary_id1", True, "canary-remark"),
             (OVERALL, None, f"{OVERALL_WORDS} for {cell.model.litellm}"))
        ):  # fmt: skip
            rows.append(
                scenario.verdict(
                    attempt["attempt_id"], cell.model.name, cell.round.name, attempt["job_id"],
                    (criterion, "canary-grader", passed), number, comment=comment, packet_id="canary-packet",
                    rubric_version=SECRET["the version of the rubric"], grader_role="adjudicator",
                )
            )  # fmt: skip
    lake.write("verdicts", scenario.table_of("verdicts", rows), cell.keys)


def test_no_request_of_any_round_holds_what_an_agent_may_not_see(
    judged: Lake, benchmark: Benchmark, stub: Callable[..., Any], replied: Callable[..., bytes], tmp_path: Path
) -> None:
    def script(n: int, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        """Looks at all that there is, tries to reach more, then hands in."""
        step = sum(m["role"] == "assistant" for m in body["messages"])
        if step == 0:
            return 200, {}, replied(("list_files", {}), ("check_deliverables", {}))
        listing = next(m["content"] for m in body["messages"] if m["role"] == "tool")
        if step == 1:
            found = [line.rpartition(" (")[0] for line in listing.splitlines()]
            return 200, {}, replied(*(("read_attachment", {"path": p}) for p in (*found, *REACHES)))
        write = ("write_file", {"path": "a.md", "content": work_of(body["model"])})
        return 200, {}, replied(write, ("finish", {"summary": "Done.", "deliverables": ["a.md"]}))

    server = stub(script)
    ledger = AttemptLedger(tmp_path / "home" / "attempts")
    rules = replace(benchmark, rounds=tuple(r.name for r in ROUNDS))
    seen: dict[str, list[dict[str, Any]]] = {}
    for round_ in ROUNDS:
        before = len(server.requests)
        for model in models():
            cell = Cell(COHORT, model, ROUND[round_.name])
            tasks = tasks_of(judged, ledger, cell, rules)
            assert len(tasks) == 2, round_.name
            results = run_tasks(tasks, ledger, AgentLimits(), simulated_base=server.base)
            assert {r.finish_reason for r in results} == {"finished"}
            rows = attempt_rows(cell, results, {}, frozenset({"j1", "j2"}))
            judged.write("attempts", scenario.table_of("attempts", rows), cell.keys)
            judge(judged, cell, rows)
        seen[round_.name] = server.requests[before:]
    for name, requests in seen.items():
        assert len(requests) == 12, "two models, two jobs, three replies"
        told = [json.dumps(body) for body in requests]
        for what, canary in SECRET.items():
            assert not [t for t in told if canary in t], f"{what} reached an agent in {name}"
        with_feedback = {word: sum(word in t for t in told) for word in FEEDBACK}
        assert set(with_feedback.values()) == ({12} if ROUND[name].feedback else {0}), "only as designed"
        for body, text in zip(requests, told, strict=True):
            other = "m-west" if body["model"] == "m-east" else "m-east"
            assert other not in text, "another model's name, work or feedback"
        own = [work_of(body["model"]) in text for body, text in zip(requests, told, strict=True)]
        assert any(own) == (ROUND[name].after is not None), "its own earlier files are in the workspace"
        assert not [t for t in told if "root:" in t]
    assert any("Use the blue paper." in json.dumps(body) for body in seen["agent_alone"]), "attachments are read"


def test_a_picture_goes_out_as_a_part_of_a_message_and_into_no_log(
    ledger: AttemptLedger, make_task: Callable[..., Any], stub: Callable[..., Any], replied: Callable[..., bytes],
    tmp_path: Path,
) -> None:  # fmt: skip
    from tests.agents import material

    path = material.picture(tmp_path / "logo.png", (300, 200))
    look = ("read_attachment", {"path": "attachments/logo.png"})
    write = ("write_file", {"path": "a.md", "content": "A blue box."})
    finish = ("finish", {"summary": "Done.", "deliverables": ["a.md"]})

    def script(n: int, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        first = len(body["messages"]) < 3
        return 200, {}, replied(look, ("list_files", {})) if first else replied(write, finish)

    server = stub(script)
    [east, west] = models()
    for model in (east, west):
        task = make_task(model=model, attachments=(path,))
        [result] = run_tasks([task], ledger, AgentLimits(), simulated_base=server.base)
        assert result.finish_reason == "finished"
        log = (result.folder / "steps.jsonl").read_text()
        assert "base64" not in log
        assert len(log) < 6_000
        assert ("sha256" in log) == model.vision
    shown, blind = (server.requests[n]["messages"] for n in (1, 3))
    assert [m["role"] for m in shown[2:]] == ["assistant", "tool", "tool", "user"], "tool answers stand together"
    picture = shown[-1]["content"][1]
    assert picture["type"] == "image_url"
    assert picture["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert [m["role"] for m in blind[2:]] == ["assistant", "tool", "tool"]
    assert "cannot see pictures" in blind[3]["content"]


def test_seeing_is_part_of_what_is_asked_only_where_it_is_there(make_task: Callable[..., Any]) -> None:
    from hapi_pipeline.agents.tasks import request_identity

    [east, west] = models()
    assert request_identity(make_task(model=east), AgentLimits())["vision"] is True
    assert "vision" not in request_identity(make_task(model=west), AgentLimits())


def test_pictures_give_way_when_the_conversation_is_too_long() -> None:
    from hapi_pipeline.agents.loop import elide

    url = "data:image/png;base64,AA"
    parts = [{"type": "text", "text": "Picture a"}, {"type": "image_url", "image_url": {"url": url}}]
    messages: list[dict[str, Any]] = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    messages += [{"role": "user", "content": parts}] + [{"role": "user", "content": "on"}] * 3
    assert elide(messages)
    assert messages[2] == {"role": "user", "content": "[elided: Picture a]"}
