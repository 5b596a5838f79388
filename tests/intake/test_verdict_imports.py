"""Imports of verdicts: once each, all at once, early ones again, bad rows with their reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline import engine
from hapi_pipeline.grading.packets import packet_id_for
from hapi_pipeline.intake.verdicts import import_verdicts
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark
from hapi_pipeline.settings import UserError
from tests import scenario

Drop = Callable[[str, str], Path]
MODEL, JOB = "Alpha", "job-a"
HEAD = "job_id,model,round,criterion_id,passed,comment,grader,minutes\n"


def fill(lake: Lake) -> None:
    """One attempt at one job with a rubric of three criteria."""
    keys = {"cohort": scenario.COHORT, "model": MODEL, "round": "agent_alone"}
    rubric = [scenario.criterion(JOB, c, i) for c, i in scenario.RUBRIC]
    rubrics = scenario.table_of("rubric_exports", rubric).to_pylist()
    rows = [row | {"cohort": scenario.COHORT} for row in rubrics]
    lake.write("rubrics", scenario.table_of("rubrics", rows), {"cohort": scenario.COHORT})
    lake.write("attempts", scenario.table_of("attempts", [scenario.attempt(MODEL, "agent_alone", JOB)]), keys)


def rows(*verdicts: str, grader: str = "g1") -> str:
    lines = (
        f"{JOB},{MODEL},agent_alone,{c},{v},,{grader},12\n" for c, v in zip(("c1", "c2", "c3"), verdicts, strict=False)
    )
    return HEAD + "".join(lines)


def current(lake: Lake) -> dict[tuple[str, str], bool | None]:
    """The verdicts that count, through the query that decides it."""
    keys = {"cohort": scenario.COHORT, "model": MODEL, "round": "agent_alone"}
    found = engine.run(lake, engine.query("verdicts"), keys).to_pylist()
    return {(v["grader"], v["criterion_id"]): v["passed"] for v in found if v["is_current"]}


def test_files_of_one_call_count_together_and_only_once(lake: Lake, drop: Drop) -> None:
    fill(lake)
    paths = [drop("a.csv", rows("pass", "fail", "yes")), drop("b.csv", rows("no", grader="g2"))]
    done, repeated = import_verdicts(lake, paths)
    assert done is not None
    assert (done.rows, len(done.files), repeated) == (4, 2, [])
    assert len(lake.imports("verdicts")) == 1
    assert import_verdicts(lake, paths) == (None, paths)
    assert current(lake) == {("g1", "c1"): True, ("g1", "c2"): False, ("g1", "c3"): True, ("g2", "c1"): False}


def test_a_newer_file_replaces_a_graders_verdict_and_the_older_one_stays(lake: Lake, drop: Drop) -> None:
    fill(lake)
    import_verdicts(lake, [drop("a.csv", rows("fail"))])
    import_verdicts(lake, [drop("b.csv", rows("pass"))])
    assert current(lake) == {("g1", "c1"): True}
    assert lake.read("verdict_exports").num_rows == 2


def test_a_file_that_came_too_early_may_come_again(lake: Lake, drop: Drop) -> None:
    early = drop("early.csv", rows("pass", "pass", "pass"))
    first, _ = import_verdicts(lake, [early])
    assert first is not None
    assert (first.rows, first.quarantined) == (0, 3)
    assert set(lake.read("quarantine")["code"].to_pylist()) == {"unknown_id"}
    assert import_verdicts(lake, [early]) == (None, [early])  # still unknown: not quarantined twice
    assert lake.read("quarantine").num_rows == 3
    fill(lake)
    again, repeated = import_verdicts(lake, [early])
    assert again is not None
    assert (again.rows, repeated) == (3, [])
    assert again.import_id != first.import_id  # a ledger is added to, never written over
    assert [i.rows for i in lake.imports("verdicts")] == [0, 3]
    assert import_verdicts(lake, [early]) == (None, [early])


def test_good_rows_go_in_and_bad_rows_say_why(lake: Lake, drop: Drop) -> None:
    fill(lake)
    done, _ = import_verdicts(lake, [drop("a.csv", rows("pass", "perhaps", ""))])
    assert done is not None
    assert (done.rows, done.quarantined) == (1, 2)
    found = lake.read("quarantine").to_pylist()
    assert {(q["row"], q["code"]) for q in found} == {(2, "bad_verdict"), (3, "missing_verdict")}
    assert all(q["file"] == "a.csv" and q["message"] for q in found)


def test_a_task_of_label_studio_may_have_the_same_wrong_several_times(lake: Lake, drop: Drop) -> None:
    """Two annotations of one grader: they agree on one criterion, contradict each other on one, and leave one blank."""
    fill(lake)

    def annotation(number: int, comment: str, second: str) -> dict[str, Any]:
        said = {
            "verdict_0": {"choices": ["PASS"]},
            "comment_0": {"text": [comment]},
            "verdict_1": {"choices": [second]},
        }
        result = [{"from_name": name, "value": value} for name, value in said.items()]
        return {"id": number, "completed_by": {"email": "g1@example.org"}, "result": result}

    packet = packet_id_for(str(scenario.attempt(MODEL, "agent_alone", JOB)["attempt_id"]))
    criteria = [{"criterion_id": c} for c in ("c1", "c2", "c3")]
    both = [annotation(1, "fine", "PASS"), annotation(2, "very fine", "FAIL")]
    task = {"id": 7, "data": {"packet_id": packet, "criteria": criteria}, "annotations": both}
    done, _ = import_verdicts(lake, [drop("tasks.json", json.dumps([task]))], people={"g1@example.org": "g1"})
    assert done is not None
    assert [(v["comment"], v["verdict_id"][32:]) for v in lake.read("verdict_exports").to_pylist()] == [
        ("fine", "-0000000007"),
        ("very fine", "-0000000007-0003"),
    ]
    assert [(q["column"], q["code"]) for q in lake.read("quarantine").to_pylist()] == [
        ("verdict", "conflict"),
        ("verdict", "missing_verdict"),
        ("verdict (2)", "conflict"),
        ("verdict (2)", "missing_verdict"),
    ]


def test_one_unreadable_file_of_several_stops_the_call_before_anything_is_written(lake: Lake, drop: Drop) -> None:
    fill(lake)
    before = sorted(lake.root.rglob("*"))
    with pytest.raises(UserError):
        import_verdicts(lake, [drop("a.csv", rows("pass")), drop("b.csv", "colour,size\nred,2\n")])
    assert sorted(lake.root.rglob("*")) == before


def test_no_required_criterion_means_that_all_are(lake: Lake, drop: Drop, benchmark: Benchmark) -> None:
    """A rubric of optional criteria only must not be complete under `required_criteria` for lack of any."""
    cohort = {"cohort": scenario.COHORT}
    scenario.take_in(lake, "jobs", "job_exports", [scenario.post(JOB)])
    rubric = [scenario.criterion(JOB, f"c{n}", "optional") for n in range(1, 6)]
    scenario.take_in(lake, "rubrics", "rubric_exports", rubric)
    scenario.curate(lake, benchmark)
    keys = {**cohort, "model": MODEL, "round": "agent_alone"}
    lake.write("attempts", scenario.table_of("attempts", [scenario.attempt(MODEL, "agent_alone", JOB)]), keys)
    lines = "".join(f"{JOB},{MODEL},agent_alone,c{n},{'fail' if n == 2 else 'pass'},,g1,5\n" for n in range(1, 6))
    import_verdicts(lake, [drop("a.csv", HEAD + lines)])
    lake.write("verdicts", engine.run(lake, engine.query("verdicts"), keys), keys)
    (row,) = engine.run(lake, engine.query("attempt_outcomes"), {**cohort, "model": MODEL}).to_pylist()
    assert (row["all_criteria"], row["required_criteria"], row["near_miss"]) == (False, False, True)
