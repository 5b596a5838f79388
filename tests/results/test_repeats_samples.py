"""Samples: the same work done again, from the manifest to the tables, and what they leave untouched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline.agents.ledger import AttemptLedger, record_of, result_of
from hapi_pipeline.evaluation import Cell, attempt_rows, current_attempts, due_tasks
from hapi_pipeline.grading.files import read_verdict_file
from hapi_pipeline.grading.verdicts import judgement
from hapi_pipeline.intake.attempts import import_attempts
from hapi_pipeline.intake.verdicts import grading_index
from hapi_pipeline.intake.verdicts_bulk import import_large
from hapi_pipeline.lake import Import, Lake
from hapi_pipeline.registry import AgentLimits, Benchmark, Model, Registry
from hapi_pipeline.rounds import ROUND
from hapi_pipeline.settings import Home
from hapi_pipeline.standing import facts_of
from tests import scenario
from tests.scenario import ALPHA, COHORT

MINE = Model(ALPHA, None, agent_profile="external")
ROW = {"job_id": "j1", "model": ALPHA, "round": "agent_alone", "deliverables": ["a.txt"], "cost_usd": 0.5}
ALONE = Cell(COHORT, MINE, ROUND["agent_alone"])


@pytest.fixture
def taken(home: Home, tmp_path: Path) -> Callable[..., Import]:
    """Import a manifest with these rows, about a benchmark of one job."""
    Registry.of(home).save_models([MINE])
    job = scenario.post("j1") | {"rubric_version": "r1", "n_criteria": 1}
    Lake(home.lake).write("benchmark_jobs", scenario.table_of("benchmark_jobs", [job]), scenario.SCOPE)
    folder = tmp_path / "handed in"
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(name)

    def run(*rows: dict[str, Any]) -> Import:
        (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return import_attempts(Lake(home.lake), home, Registry.of(home), folder)[0]

    return run


def results(home: Home) -> list[Any]:
    return list(AttemptLedger(home.attempts).results(MINE.key, "agent_alone"))


def test_samples_are_attempts_of_their_own_however_alike_their_work(taken: Callable[..., Import], home: Home) -> None:
    done = taken(ROW, *({**ROW, "sample": n} for n in (2, 3.0)))
    assert (done.rows, done.quarantined, done.unmapped_columns) == (3, 0, ())
    assert sorted((r.sample, r.try_number) for r in results(home)) == [(1, 1), (2, 1), (3, 1)]


def test_other_work_for_a_sample_is_a_new_try_at_that_sample_alone(taken: Callable[..., Import], home: Home) -> None:
    taken(ROW, {**ROW, "sample": 2})
    taken({**ROW, "sample": 2, "deliverables": ["b.txt"]})
    found = {(r.sample, r.try_number): r.attempt_id for r in results(home)}
    assert sorted(found) == [(1, 1), (2, 1), (2, 2)]
    rows = attempt_rows(ALONE, results(home), {"j1": found[1, 1]}, frozenset({"j1"}))
    assert {r["attempt_id"] for r in rows if r["is_current"]} == {found[1, 1], found[2, 2]}


def test_the_first_sample_keeps_the_identity_that_it_had_before_there_were_samples(
    taken: Callable[..., Import], home: Home
) -> None:
    taken(ROW, {**ROW, "sample": 1})
    (only,) = results(home)
    record = record_of(only)
    assert record.pop("sample") == 1
    assert result_of(record, only.folder) == only, "a record of an earlier version is a first sample"


@pytest.mark.parametrize("bad", [0, -1, 1.5, "2", True, 1001, [1]])
def test_what_is_no_number_of_a_sample_goes_to_quarantine(
    taken: Callable[..., Import], home: Home, bad: object
) -> None:
    done = taken({**ROW, "sample": bad}, {**ROW, "sample": 1000})
    assert (done.rows, done.quarantined) == (1, 1)
    (row,) = Lake(home.lake).read("quarantine").to_pylist()
    assert (row["row"], row["column"], row["code"]) == (1, "sample", "bad_number")


# ---- verdicts


@pytest.fixture
def sampled(lake: Lake) -> Lake:
    """Two jobs, the first with three samples of which the second was handed in twice; and the start of a next round."""
    keys = {"cohort": COHORT}
    rubrics = [scenario.criterion(job, "c1", "critical") | keys for job in ("j1", "j2")]
    lake.write("rubrics", scenario.table_of("rubrics", rubrics), keys)
    jobs = [scenario.post(job) | {"rubric_version": "r1", "n_criteria": 1} for job in ("j1", "j2")]
    lake.write("benchmark_jobs", scenario.table_of("benchmark_jobs", jobs), keys)
    rows = [
        scenario.attempt(ALPHA, "agent_alone", job, sample=s, attempt_id=f"{job} {s} {t}", try_number=t, is_current=now)
        for job, s, t, now in (
            ("j1", 1, 1, True), ("j1", 2, 1, False), ("j1", 2, 2, True), ("j1", 3, 1, True), ("j2", 1, 1, True)
        )
    ]  # fmt: skip
    lake.write("attempts", scenario.table_of("attempts", rows), keys | {"model": ALPHA, "round": "agent_alone"})
    second = [scenario.attempt(ALPHA, "retry_1", "j1", attempt_id="again")]
    lake.write("attempts", scenario.table_of("attempts", second), keys | {"model": ALPHA, "round": "retry_1"})
    return lake


LONG = f"""job_id,model,round,sample,packet_id,criterion_id,passed,grader
j1,"{ALPHA}",agent_alone,,,c1,pass,ann
j1,"{ALPHA}",agent_alone,2,,c1,fail,ann
j1,"{ALPHA}",agent_alone,3,,c1,pass,ann
j1,"{ALPHA}",agent_alone,4,,c1,pass,ann
j2,"{ALPHA}",agent_alone, 1 ,,c1,fail,ann
j2,"{ALPHA}",agent_alone,two,,c1,fail,ann
j1,"{ALPHA}",agent_alone,3,PACKET,c1,pass,bob
j1,"{ALPHA}",agent_alone,1,PACKET,c1,pass,cy
"""


def long_file(lake: Lake, folder: Path) -> Path:
    (third,) = [g for g in grading_index(lake)._packets.values() if g.attempt_id == "j1 3 1"]
    path = folder / "verdicts.csv"
    path.write_text(LONG.replace("PACKET", third.packet_id))
    return path


def test_a_long_file_names_samples_and_the_first_goes_without_saying(sampled: Lake, tmp_path: Path) -> None:
    path = long_file(sampled, tmp_path)
    made = judgement(
        read_verdict_file(path), grading_index(sampled), source_file="v", source_sha256="s", imported_at=scenario.NOON
    )
    assert {(row["attempt_id"], row["grader"]): row["passed"] for row in made.rows} == {
        ("j1 1 1", "ann"): True,
        ("j1 2 2", "ann"): False,
        ("j1 3 1", "ann"): True,
        ("j2 1 1", "ann"): False,
        ("j1 3 1", "bob"): True,
    }
    assert [(q["row"], q["code"]) for q in made.quarantine] == [(4, "unknown_id"), (6, "unknown_id"), (8, "unknown_id")]
    assert "sample" in made.quarantine[0]["message"]
    # a next round follows the first sample, so only verdicts on that one come too late for it
    assert {row["attempt_id"] for row in made.rows if "late" in row["flags"]} == {"j1 1 1"}


def test_large_files_are_read_the_same(sampled: Lake, tmp_path: Path) -> None:
    path = long_file(sampled, tmp_path)
    index = grading_index(sampled)
    one = judgement(
        read_verdict_file(path), index, source_file=path.name,
        source_sha256=hashlib.sha256(path.read_bytes()).hexdigest(), imported_at=scenario.NOON,
    )  # fmt: skip
    found = import_large(sampled, [(path, hashlib.sha256(path.read_bytes()).hexdigest())], least=0)
    assert found is not None
    key = ("attempt_id", "grader", "passed", "flags", "source_row", "verdict_id")
    rows = sorted(sampled.read("verdict_exports").to_pylist(), key=lambda r: int(r["source_row"]))
    assert [[r[c] for c in key] for r in rows] == [[r[c] for c in key] for r in one.rows]
    assert len(rows) == 5
    assert sampled.read("quarantine").num_rows == len(one.quarantine)


# ---- what samples leave untouched


def graded(lake: Lake, benchmark: Benchmark, passed: dict[str, bool]) -> None:
    """Verdicts on attempts, and the tables that follow from them."""
    keys = {"cohort": COHORT, "model": ALPHA, "round": "agent_alone"}
    rows = [
        scenario.verdict(at, ALPHA, "agent_alone", at.split()[0], ("c1", "ann", good), n)
        for n, (at, good) in enumerate(passed.items())
    ]
    lake.write("verdicts", scenario.table_of("verdicts", rows), keys)
    cell = {"cohort": COHORT, "model": ALPHA}
    for table in ("attempt_outcomes", "job_states", "outcome_counts", "completion_rates"):
        scenario.make(lake, benchmark, table, cell)


def test_states_and_counts_are_over_first_samples(sampled: Lake, benchmark: Benchmark) -> None:
    graded(sampled, benchmark, {"j1 1 1": False, "j1 2 2": True, "j1 3 1": True, "j2 1 1": True})
    outcomes = {r["attempt_id"]: (r["sample"], r["all_criteria"]) for r in sampled.read("attempt_outcomes").to_pylist()}
    assert {k: v for k, v in outcomes.items() if k != "again"} == {
        "j1 1 1": (1, False), "j1 2 2": (2, True), "j1 3 1": (3, True), "j2 1 1": (1, True)
    }  # fmt: skip
    states = {
        r["job_id"]: r["state"]
        for r in sampled.read("job_states").to_pylist()
        if (r["round"], r["rule"]) == ("agent_alone", "all_criteria")
    }
    assert states == {"j1": "failed", "j2": "complete"}
    counts = [
        (r["n_eligible"], r["n_graded"], r["n_completed"])
        for r in sampled.read("completion_rates").to_pylist()
        if (r["round"], r["rule"]) == ("agent_alone", "all_criteria")
    ]
    assert counts == [(2, 2, 1)]


def test_attempts_that_an_earlier_version_wrote_are_first_samples(lake: Lake, benchmark: Benchmark) -> None:
    import pyarrow.parquet as pq

    keys = {"cohort": COHORT, "model": ALPHA, "round": "agent_alone"}
    job = scenario.post("j1") | {"rubric_version": "r1", "n_criteria": 1}
    lake.write("benchmark_jobs", scenario.table_of("benchmark_jobs", [job]), scenario.SCOPE)
    criterion = scenario.criterion("j1", "c1", "critical") | {"cohort": COHORT}
    lake.write("rubrics", scenario.table_of("rubrics", [criterion]), scenario.SCOPE)
    rows = [scenario.attempt(ALPHA, "agent_alone", "j1", attempt_id="j1 old")]
    lake.write("attempts", scenario.table_of("attempts", rows), keys)
    path = lake.path("attempts", keys)
    older = pq.ParquetFile(path).read()
    pq.write_table(older.drop_columns(["sample"]), path)
    graded(lake, benchmark, {"j1 old": True})
    assert [r["sample"] for r in lake.read("attempt_outcomes").to_pylist()] == [1]
    assert facts_of(lake, benchmark).tries == {(ALPHA, "agent_alone", "j1"): (True, 1)}
    found = grading_index(lake).by_cell("j1", ALPHA, "agent_alone")
    assert found is not None
    assert (found.attempt_id, found.sample) == ("j1 old", 1)


def test_a_job_whose_first_sample_is_missing_is_not_attempted(sampled: Lake, benchmark: Benchmark) -> None:
    keys = {"cohort": COHORT, "model": ALPHA, "round": "agent_alone"}
    rows = [r for r in sampled.read("attempts", keys).to_pylist() if r["attempt_id"] != "j1 1 1"]
    sampled.write("attempts", scenario.table_of("attempts", rows), keys)
    graded(sampled, benchmark, {"j1 2 2": True, "j1 3 1": True, "j2 1 1": True})
    states = {r["job_id"]: r["state"] for r in sampled.read("job_states").to_pylist() if r["round"] == "agent_alone"}
    assert states == {"j1": "unattempted", "j2": "complete"}
    facts = facts_of(sampled, benchmark)
    assert facts.tries.get((ALPHA, "agent_alone", "j1")) is None
    assert facts.outcomes == {(ALPHA, "agent_alone", "j2"): True, (ALPHA, "retry_1", "j1"): None}


def test_later_rounds_follow_the_first_sample(taken: Callable[..., Import], home: Home, benchmark: Benchmark) -> None:
    taken(ROW, {**ROW, "sample": 2})
    first, second = sorted(results(home), key=lambda r: r.sample)
    lake, ledger, limits = Lake(home.lake), AttemptLedger(home.attempts), AgentLimits()
    keys = {"cohort": COHORT, "model": ALPHA, "round": "agent_alone"}
    lake.write(
        "rubrics", scenario.table_of("rubrics", [scenario.criterion("j1", "c1", "critical") | {"cohort": COHORT}]),
        scenario.SCOPE,
    )  # fmt: skip
    now = current_attempts(ledger, due_tasks(lake, ledger, ALONE, benchmark), limits)
    assert now == {"j1": first.attempt_id}
    made = attempt_rows(ALONE, results(home), now, frozenset({"j1"}))
    lake.write("attempts", scenario.table_of("attempts", made), keys)
    for passed, follows in (({first: True, second: False}, []), ({first: False, second: True}, [first.attempt_id])):
        said = [
            scenario.verdict(r.attempt_id, ALPHA, "agent_alone", "j1", ("c1", "ann", good), r.sample)
            for r, good in passed.items()
        ]
        lake.write("verdicts", scenario.table_of("verdicts", said), keys)
        due = due_tasks(lake, ledger, Cell(COHORT, MINE, ROUND["feedback_1"]), benchmark)
        assert [task.previous.attempt_id for task in due if task.previous] == follows
