"""After a rubric's edit: verdicts on the criteria that kept their text count on, those on the others are stale."""

from __future__ import annotations

from datetime import timedelta

from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark
from tests import scenario

JOB, MODEL = "job-a", "Alpha"
CELL = {"cohort": scenario.COHORT, "model": MODEL}


def edited(lake: Lake, benchmark: Benchmark) -> None:
    """c1 is as it was, c2 has other words, c3 counts more, c4 is new."""
    scenario.take_in(lake, "jobs", "job_exports", [scenario.post(JOB)])
    old = [scenario.criterion(JOB, c, i) for c, i in scenario.RUBRIC]
    later = {"rubric_version": "r2", "source_sha256": "e" * 64, "imported_at": scenario.NOON + timedelta(days=1)}
    new = [
        scenario.criterion(JOB, "c1", "critical", **later),
        scenario.criterion(JOB, "c2", "important", text="c2 is met in full", **later),
        scenario.criterion(JOB, "c3", "critical", **later),
        scenario.criterion(JOB, "c4", "optional", **later),
    ]
    scenario.take_in(lake, "rubrics", "rubric_exports", old)
    scenario.take_in(lake, "rubrics", "rubric_exports", new)
    scenario.curate(lake, scenario.rules(benchmark))


def test_what_stands_of_each_version(lake: Lake, benchmark: Benchmark) -> None:
    edited(lake, benchmark)
    found = {
        (r["rubric_version"], r["criterion_id"]): r["still_stands"] for r in lake.read("standing_criteria").to_pylist()
    }
    assert found == {
        ("r1", "c1"): True,
        ("r1", "c2"): False,
        ("r1", "c3"): False,
        ("r2", "c1"): True,
        ("r2", "c2"): True,
        ("r2", "c3"): True,
        ("r2", "c4"): True,
    }


def outcome(lake: Lake, benchmark: Benchmark, votes: list[tuple[str, str]]) -> tuple[int, bool | None, str]:
    keys = {**CELL, "round": "agent_alone"}
    attempt_id = f"{MODEL} agent_alone {JOB}"
    lake.write("attempts", scenario.table_of("attempts", [scenario.attempt(MODEL, "agent_alone", JOB)]), keys)
    rows = [
        scenario.verdict(attempt_id, MODEL, "agent_alone", JOB, (c, "ann", True), n, rubric_version=version)
        for n, (version, c) in enumerate(votes)
    ]
    scenario.take_in(lake, "verdicts", "verdict_exports", rows)
    scenario.make(lake, benchmark, "verdicts", keys)
    (row,) = scenario.make(lake, benchmark, "attempt_outcomes", CELL).to_pylist()
    return row["n_passed"], row["all_criteria"], row["outcome"]


def test_only_verdicts_on_changed_criteria_are_stale(lake: Lake, benchmark: Benchmark) -> None:
    edited(lake, benchmark)
    old = [("r1", "c1"), ("r1", "c2"), ("r1", "c3")]
    assert outcome(lake, benchmark, old) == (1, None, "pending")


def test_grading_what_changed_is_enough(lake: Lake, benchmark: Benchmark) -> None:
    edited(lake, benchmark)
    both = [("r1", "c1"), ("r1", "c2"), ("r2", "c2"), ("r2", "c3"), ("r2", "c4")]
    assert outcome(lake, benchmark, both) == (4, True, "graded")
