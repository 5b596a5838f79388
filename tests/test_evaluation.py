"""Who is attempted in a round, and what the agent is told: over the hand-made world."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from hapi_pipeline.agents.ledger import AttemptLedger, Result
from hapi_pipeline.evaluation import (
    Cell,
    attachments_of,
    attempt_rows,
    criteria_by_job,
    feedback_of,
    jobs_of,
    tasks_of,
)
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark, Model
from hapi_pipeline.rounds import ROUND
from tests import scenario
from tests.scenario import ALPHA, COHORT, NOON


def cell(round_: str, model: str = ALPHA, **changes: Any) -> Cell:
    return Cell(COHORT, Model(model, **({"litellm": "openai/x"} | changes)), ROUND[round_])


class KnownAttempts(AttemptLedger):
    """A ledger that holds the attempts of the hand-made world."""

    def results(self, model_key: str, round: str, jobs: Collection[str] | None = None) -> list[Result]:
        made = [(m, r, j) for m, r, j in scenario.ATTEMPTS if (Model(m, None).key, r) == (model_key, round)]
        return [result(m, r, j) for m, r, j in made if jobs is None or j in jobs]


def result(model: str, round_: str, job_id: str, **changes: Any) -> Result:
    values: dict[str, Any] = {
        "attempt_id": f"{model} {round_} {job_id}",
        "job_id": job_id,
        "model": model,
        "round": round_,
        "turn": 0,
        "arm": "human",
        "try_number": 1,
        "status": "done",
        "finish_reason": "finished",
        "steps": 1,
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "cost_usd": 0.1,
        "seconds": 1.0,
        "deliverables": (),
        "request_sha256": "c",
        "previous_attempt_id": None,
        "model_snapshot": None,
        "agent_profile": "paper",
        "sandbox": "none",
        "code_version": "0",
        "finished_at": NOON,
        "simulated": False,
        "maybe_billed_steps": 0,
        "folder": Path("nowhere"),
    }
    return Result(**(values | changes))


def test_in_the_first_round_every_job_of_the_benchmark_is_attempted(world: Lake, benchmark: Benchmark) -> None:
    tasks = tasks_of(world, KnownAttempts(world.root), cell("agent_alone"), scenario.rules(benchmark))
    assert {t.job.job_id for t in tasks} == set(scenario.GOOD)
    assert all(t.feedback is None and t.previous is None for t in tasks)


def test_later_those_that_are_known_to_be_incomplete_are_tried_again(world: Lake, benchmark: Benchmark) -> None:
    tasks = tasks_of(world, KnownAttempts(world.root), cell("feedback_1"), scenario.rules(benchmark))
    assert [t.job.job_id for t in tasks] == ["good-3", "good-4"], "good-2 is pending: nobody pays for it yet"
    said = {t.job.job_id: t.feedback for t in tasks}
    assert said["good-3"] is not None
    assert said["good-3"].failed == (("c3 is met", "ann on c3"),), "the adjudicator has overruled ann on c1"
    assert said["good-4"] is not None
    assert said["good-4"].overall == "No file was handed in."
    assert [t.previous.attempt_id for t in tasks if t.previous] == [f"{ALPHA} agent_alone good-{n}" for n in (3, 4)]


def test_nobody_is_asked_in_a_round_that_is_not_run_or_for_an_external_model(world: Lake, benchmark: Benchmark) -> None:
    rules, ledger = scenario.rules(benchmark), KnownAttempts(world.root)
    assert tasks_of(world, ledger, cell("retry_1"), rules) == []
    assert tasks_of(world, ledger, cell("agent_alone", litellm=None), rules) == []


def test_feedback_on_a_criterion_of_an_older_rubric_is_not_passed_on(lake: Lake, benchmark: Benchmark) -> None:
    lake.write(
        "rubrics",
        scenario.table_of("rubrics", [scenario.criterion("j1", "c1", "critical") | {"cohort": COHORT}]),
        scenario.SCOPE,
    )
    here = cell("agent_alone")
    lake.write(
        "verdicts",
        scenario.table_of(
            "verdicts",
            [
                scenario.verdict("a1", ALPHA, "agent_alone", "j1", ("c1", "ann", False), 1, rubric_version="r0"),
                scenario.verdict("a1", ALPHA, "agent_alone", "j1", ("__overall__", "ann", None), 2, comment="Nearly."),
            ],
        ),
        here.keys,
    )
    (said,) = feedback_of(lake, here).values()
    assert (said.failed, said.overall) == ((), "Nearly.")


def test_the_agent_sees_the_post_and_never_its_rubric(world: Lake) -> None:
    jobs = jobs_of(world, COHORT)
    assert set(jobs) == set(scenario.GOOD)
    assert "is met" not in repr(jobs)
    assert {
        j: [c.criterion_id for c in criteria]
        for j, (_, criteria) in criteria_by_job(world, COHORT).items()
        if j in jobs
    } == {j: ["c1", "c2", "c3"] for j in jobs}


def test_only_files_that_lie_in_the_jobs_own_folder_are_attached(tmp_path: Path, drop: Callable[..., Path]) -> None:
    folder = tmp_path / "attachments" / "j%2F1"
    folder.mkdir(parents=True)
    (folder / "brief.txt").write_text("brief")
    (folder / "link.txt").symlink_to(drop("secret.txt", "secret"))
    names = [
        "brief.txt",
        "gone.txt",
        "../../drops/secret.txt",
        "link.txt",
        "/etc/hostname",
        "a\0b",
        "x" * 5000,
        "",
        ".",
    ]
    assert [p.name for p in attachments_of(tmp_path, "j/1", names)] == ["brief.txt"]
    assert attachments_of(tmp_path, "j/1", None) == ()


def test_every_attempt_is_a_row_and_one_of_each_job_is_current() -> None:
    here = cell("agent_alone")
    made = [
        result(ALPHA, "agent_alone", "j1", attempt_id=a, status=s, finished_at=NOON.replace(hour=h))
        for a, s, h in (("old", "done", 1), ("new", "done", 2), ("broken", "infra", 3))
    ]
    made += [result(ALPHA, "agent_alone", j, attempt_id=f"on {j}") for j in ("j2", "elsewhere")]
    rows = attempt_rows(here, made, {}, frozenset({"j1", "j2"}))
    assert {r["attempt_id"]: r["is_current"] for r in rows} == {
        "old": False,
        "new": True,
        "broken": False,
        "on j2": True,
    }
    chosen = attempt_rows(here, made, {"j1": "old"}, frozenset({"j1"}))
    assert [r["attempt_id"] for r in chosen if r["is_current"]] == ["old"]
    assert scenario.table_of("attempts", rows).num_rows == 4
