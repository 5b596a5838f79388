"""The identity of a request, the ledger of results, and the log of steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hapi_pipeline.agents.ledger import AttemptLedger, Deliverable, Result, read_result
from hapi_pipeline.agents.steps import StepLog
from hapi_pipeline.agents.tasks import Feedback, Task, attempt_id, request_sha256
from hapi_pipeline.registry import AgentLimits, Model, Pool, Price
from hapi_pipeline.settings import UserError

LIMITS = AgentLimits()
EXTERNAL = Model("Elsewhere", None, agent_profile="external")
MOMENT = datetime(2026, 4, 1, 12, tzinfo=UTC)


def _result(**changes: Any) -> Result:
    blank: dict[str, Any] = dict.fromkeys(
        [
            "turn",
            "try_number",
            "steps",
            "prompt_tokens",
            "completion_tokens",
            "cached_tokens",
            "reasoning_tokens",
        ],
        0,
    )
    blank |= dict.fromkeys(
        ["job_id", "model", "round", "arm", "status", "finish_reason", "request_sha256", "agent_profile"], "x"
    )
    blank |= {"attempt_id": "at_x", "sandbox": "none", "code_version": "1", "model_snapshot": None}
    blank |= {"cost_usd": None, "seconds": 0.0, "deliverables": (), "previous_attempt_id": None}
    blank |= {"finished_at": MOMENT, "simulated": False, "maybe_billed_steps": 0, "folder": Path("x")}
    return Result(**(blank | changes))


def test_the_identity_changes_with_what_is_asked_and_only_then(make_task: Callable[..., Task], tmp_path: Path) -> None:
    task = make_task()
    model = task.model
    sheet = tmp_path / "a.csv"
    sheet.write_text("1")
    before = _result(deliverables=(Deliverable("a.md", "text/markdown", 1, "aa"),))
    same = [
        replace(task, cohort="2026-04"),
        replace(task, model=replace(model, api_base="http://127.0.0.1:1", api_key_env="K", pool=Pool("other", 99))),
        replace(task, model=replace(model, prices=(Price(date(2021, 1, 1), 9, 9),), retired=True)),
        replace(task, model=replace(model, parameters={})),
        replace(task, job=replace(task.job)),
    ]
    other = [
        replace(task, round="retry_1"),
        replace(task, feedback=Feedback(())),
        replace(task, feedback=Feedback((("a", "b"),))),
        replace(task, feedback=Feedback((("ab", ""),))),
        replace(task, feedback=Feedback((), "Good.")),
        replace(task, previous=_result()),
        replace(task, previous=before),
        replace(task, model=replace(model, litellm="hosted_vllm/sim-two")),
        replace(task, model=replace(model, name="Sim Two")),
        replace(task, model=replace(model, parameters={"temperature": 0})),
        replace(task, model=replace(model, parameters={"temperature": 1})),
        replace(task, model=replace(model, max_tokens=1)),
        *(make_task(**{name: "changed"}) for name in ("job_id", "title", "description", "category", "subcategory")),
        make_task(skills=("excel", "word")),
        make_task(skills=("excel, word",)),
        make_task(attachments=(sheet,)),
    ]
    sha = request_sha256(task, LIMITS)
    assert {request_sha256(t, LIMITS) for t in same} == {sha}
    shas = [sha, *(request_sha256(t, LIMITS) for t in other), request_sha256(task, AgentLimits(max_steps=3))]
    assert len(set(shas)) == len(shas)
    sheet.write_text("22")
    assert request_sha256(other[-1], LIMITS) not in shas


@given(
    parameters=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=5),
    text=st.text(max_size=20),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_parameters_does_not_matter(
    parameters: dict[str, Any], text: str, make_task: Callable[..., Task]
) -> None:
    backwards = dict(reversed(parameters.items()))
    one, two = (
        make_task(description=text, model=replace(make_task().model, parameters=p)) for p in (parameters, backwards)
    )
    assert request_sha256(one, LIMITS) == request_sha256(two, LIMITS)


def test_attempt_ids_are_short_and_differ_by_try() -> None:
    ids = {attempt_id("ab", n) for n in range(1, 9)}
    assert len(ids) == 8
    assert all(len(i) == 27 and i.startswith("at_") for i in ids)


def test_a_missing_attachment_is_a_plain_error(make_task: Callable[..., Task], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.csv"):
        request_sha256(make_task(attachments=(tmp_path / "gone.csv",)), LIMITS)


def add(ledger: AttemptLedger, files: list[tuple[str, Path]], **changes: Any) -> Result:
    given: dict[str, Any] = {
        "job_id": "J1", "model": EXTERNAL, "round": "agent_alone", "turn": 0, "arm": "human", "cost_usd": 0.5,
        "prompt_tokens": None, "completion_tokens": 7, "seconds": 2.5, "finished_at": MOMENT,
    }  # fmt: skip
    return ledger.add_external(files=files, **(given | changes))


def test_an_attempt_made_elsewhere_is_taken_in_once(ledger: AttemptLedger, tmp_path: Path) -> None:
    work = tmp_path / "work.md"
    work.write_text("Work.")
    first = add(ledger, [("out/report.md", work)])
    assert add(AttemptLedger(ledger.root), [("out/report.md", work)]) == first
    assert add(ledger, [("out/report.md", work)], finished_at=MOMENT.replace(tzinfo=None)) == first
    assert (first.status, first.finish_reason, first.agent_profile) == ("done", "external", "external")
    assert (first.folder / "deliverables/out/report.md").read_text() == "Work."
    assert first.deliverables[0].media_type == "text/markdown"
    work.write_text("Better work.")
    second = add(ledger, [("out/report.md", work)], finished_at=MOMENT.replace(day=2))
    third = add(ledger, [], job_id="J2")
    assert sorted(r.attempt_id for r in ledger.results(EXTERNAL.key, "agent_alone")) == sorted(
        r.attempt_id for r in (first, second, third)
    )


def test_the_newest_external_attempt_of_the_job_is_found(ledger: AttemptLedger, make_task: Callable[..., Task]) -> None:
    task = make_task(model=EXTERNAL)
    assert ledger.find(task, LIMITS) is None
    add(ledger, [])
    newest = add(ledger, [], finished_at=MOMENT.replace(day=2))
    add(ledger, [], job_id="J2", finished_at=MOMENT.replace(day=3))
    assert ledger.find(task, LIMITS) == newest


def test_hostile_external_files_are_refused_and_nothing_is_kept(ledger: AttemptLedger, tmp_path: Path) -> None:
    work = tmp_path / "work.md"
    work.write_text("Work.")
    link = tmp_path / "link.md"
    link.symlink_to("/etc/hostname")
    for files in ([("../x.md", work)], [("/x.md", work)], [("x.md", link)], [("x.md", tmp_path / "none")],
                  [("x.md", work), ("X.md", work)]):  # fmt: skip
        with pytest.raises(UserError):
            add(ledger, files)
    assert not ledger.root.exists()


def test_half_made_and_damaged_folders_are_not_results(ledger: AttemptLedger) -> None:
    good = add(ledger, [])
    parent = good.folder.parent
    (parent / "123456789abc-at_half").mkdir()
    (parent / "123456789abc-at_torn").mkdir()
    (parent / "123456789abc-at_torn" / "result.json").write_text('{"attempt_id": "at_')
    (parent / "123456789abc-at_old").mkdir()
    (parent / "123456789abc-at_old" / "result.json").write_text('{"attempt_id": "at_old"}')
    (parent / "stray.txt").write_text("")
    out = json.loads((good.folder / "result.json").read_text())
    out["deliverables"] = [asdict(Deliverable("../../../../private.txt", "text/plain", 1, "0" * 64))]
    (parent / "123456789abc-at_out").mkdir()
    (parent / "123456789abc-at_out" / "result.json").write_text(json.dumps(out))
    assert AttemptLedger(ledger.root).results(EXTERNAL.key, "agent_alone") == [good]
    assert AttemptLedger(ledger.root).results(EXTERNAL.key, "no_round") == []
    assert read_result(good.folder) == good


REPLY = {"event": "reply", "message": {"content": "\ud800 é"}, "seconds": 1.0}


def _two_steps(path: Path) -> None:
    log = StepLog(path)
    log.intend(1, "k-1")
    log.outcome(1, dict(REPLY))
    log.tool(1, 0, "list_files", "nothing", failed=False)
    log.intend(2, "k-2")
    log.close()


def test_a_log_cut_at_any_byte_gives_what_was_whole(tmp_path: Path) -> None:
    _two_steps(tmp_path / "steps.jsonl")
    data = (tmp_path / "steps.jsonl").read_bytes()
    ends = [n + 1 for n, byte in enumerate(data) if byte == 10]
    cut = tmp_path / "cut.jsonl"
    for length in range(len(data) + 1):
        cut.write_bytes(data[:length])
        log = StepLog(cut)
        whole = sum(end <= length for end in ends)
        assert log.outcomes == ({1: json.loads(data.splitlines()[1])} if whole >= 2 else {})
        assert log.maybe_billed == (0, 1, 0, 0, 1)[whole]
        log.close()
        assert cut.read_bytes() == data[: ([0, *ends])[whole]]


def test_a_log_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    log = StepLog(tmp_path / "steps.jsonl")
    with pytest.raises(BlockingIOError):
        StepLog(tmp_path / "steps.jsonl")
    log.close()
    StepLog(tmp_path / "steps.jsonl").close()


def test_calls_known_to_have_brought_nothing_are_not_perhaps_billed(tmp_path: Path) -> None:
    for _ in range(3):
        log = StepLog(tmp_path / "steps.jsonl")
        log.intend(1, "k-1")
        log.close()
    log = StepLog(tmp_path / "steps.jsonl")
    log.intend(1, "k-1")
    log.unanswered(1, "401")
    log.close()
    log = StepLog(tmp_path / "steps.jsonl")
    log.close()
    assert log.maybe_billed == 3
