"""One tiny world, worked out by hand: a post for each reason to fail, two models, two rounds, a few verdicts.

Everything is put straight into the ledgers and tables people and models fill; the project's SQL makes the
rest, as the assets would. What must come out stands beside what goes in.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from hapi_pipeline import engine
from hapi_pipeline.curation import duplicates
from hapi_pipeline.curation.funnel import funnel_by_category
from hapi_pipeline.curation.pii_findings import pii_findings
from hapi_pipeline.curation.rules import CHAIN, kept, rejections
from hapi_pipeline.lake import Import, ImportedFile, Lake
from hapi_pipeline.parameters import constant_relations, query_parameters
from hapi_pipeline.registry import Benchmark
from hapi_pipeline.tables import TABLES

COHORT = "2026-03"
SCOPE = {"cohort": COHORT}
NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
ALPHA, BETA = "Alpha/1 (beta), v.2", "Beta"
_ROWS = itertools.count(1)
RUBRIC = (("c1", "critical"), ("c2", "important"), ("c3", "optional"))


def table_of(name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of a table; what they do not say is null."""
    schema = TABLES[name].schema()
    return pa.Table.from_pylist([{c: row.get(c) for c in schema.names} for row in rows], schema=schema)


def post(job_id: str, **changes: Any) -> dict[str, Any]:
    """A row of job_exports: a job that every rule keeps, apart from the changes."""
    return {
        "cohort": COHORT,
        "job_id": job_id,
        "source": "canonical",
        "title": f"Task {job_id}",
        "description": "Sort the shelves by colour and write down how many books stand on each.",
        "category": "Writing",
        "job_type": "fixed",
        "price_usd": 100.0,
        "price_changed": False,
        "milestone_count": 1,
        "status": "completed",
        "paid": True,
        "client_id": f"client of {job_id}",
        "completed_at": NOON,
        "assumed_fields": [],
        "content_id": f"content of {job_id}",
        "source_file": "posts.csv",
        "source_sha256": "a" * 64,
        "source_row": next(_ROWS),
        "imported_at": NOON,
        "simulated": False,
    } | changes


GOOD = {"good-1": "Writing", "good-2": "Writing", "good-3": "Data", "good-4": None}
POSTS = [
    post("good-1", content_id="shelves", client_id="lib"),
    post("good-2", price_usd=499.99),
    post("good-3", category="Data", price_usd=50.0),
    post("good-4", category=None, price_usd=12.5),
    post("x-hourly", job_type="hourly"),
    post("x-type", job_type=None),
    post("x-open", status="open"),
    post("x-status", status=None),
    post("x-date", completed_at=None),
    post("x-unpaid", paid=False),
    post("x-paid", paid=None),
    post("x-two", milestone_count=2),
    post("x-milestones", milestone_count=None),
    post("x-none", milestone_count=0),
    post("x-moved", price_changed=True),
    post("x-moved?", price_changed=None),
    post("x-limit", price_usd=500.0),
    post("x-over", price_usd=900.0),
    post("x-price", price_usd=None),
    post("x-pii", description="Write to me at warden.of.shelves@fastmail.com before you begin, please."),
    post("x-twin", content_id="shelves", client_id="lib"),
    post("x-blank", title=None, description=None),
    post("x-unwritten"),
    post("x-thin"),
    post("x-fat"),
]
REJECTED = {
    "x-hourly": ("fixed_price_jobs", "not_fixed_price"),
    "x-type": ("fixed_price_jobs", "unknown_job_type"),
    "x-open": ("completed_jobs", "not_completed"),
    "x-status": ("completed_jobs", "unknown_status"),
    "x-date": ("completed_jobs", "unknown_completed_at"),
    "x-unpaid": ("completed_jobs", "not_paid"),
    "x-paid": ("completed_jobs", "unknown_paid"),
    "x-two": ("single_milestone_jobs", "several_milestones"),
    "x-milestones": ("single_milestone_jobs", "unknown_milestones"),
    "x-none": ("single_milestone_jobs", "unknown_milestones"),
    "x-moved": ("single_milestone_jobs", "price_changed"),
    "x-moved?": ("single_milestone_jobs", "unknown_price_change"),
    "x-limit": ("in_scope_jobs", "price_at_or_over_limit"),
    "x-over": ("in_scope_jobs", "price_at_or_over_limit"),
    "x-price": ("in_scope_jobs", "unknown_price"),
    "x-pii": ("pii_free_jobs", "personal_data"),
    "x-twin": ("selected_jobs", "duplicate_content"),
    "x-blank": ("curated_jobs", "no_description"),
    "x-unwritten": ("benchmark_jobs", "no_rubric"),
    "x-thin": ("benchmark_jobs", "too_few_criteria"),
    "x-fat": ("benchmark_jobs", "too_many_criteria"),
}
# rule: n_in, n_kept, n_rejected, n_unknown
FUNNEL = {
    "fixed_price_jobs": (25, 23, 1, 1),
    "completed_jobs": (23, 18, 2, 3),
    "single_milestone_jobs": (18, 13, 2, 3),
    "in_scope_jobs": (13, 10, 2, 1),
    "pii_free_jobs": (10, 9, 1, 0),
    "curated_jobs": (9, 8, 1, 0),
    "selected_jobs": (8, 7, 1, 0),
    "benchmark_jobs": (7, 4, 3, 0),
}

# model, round, job: what became of the attempt; verdicts are criterion, grader, answer (None: cannot judge)
Vote = tuple[str, str, bool | None]
ATTEMPTS: dict[tuple[str, str, str], str | list[Vote]] = {
    (ALPHA, "agent_alone", "good-1"): [("c1", "ann", True), ("c2", "ann", True), ("c3", "ann", True)],
    # ann and bob disagree on an optional criterion, and nobody has decided
    (ALPHA, "agent_alone", "good-2"): [
        ("c1", "ann", True),
        ("c2", "ann", True),
        ("c3", "ann", True),
        ("c3", "bob", False),
    ],
    # they disagree on a critical one, and the adjudicator has decided
    (ALPHA, "agent_alone", "good-3"): [
        ("c1", "ann", False),
        ("c1", "bob", True),
        ("c1", "judge", True),
        ("c2", "ann", True),
        ("c3", "ann", False),
    ],
    (ALPHA, "agent_alone", "good-4"): "no files",
    (ALPHA, "feedback_1", "good-3"): "infra",
    (ALPHA, "feedback_1", "good-4"): [("c1", "ann", True), ("c2", "ann", None), ("c3", "ann", False)],
    (BETA, "agent_alone", "good-1"): [("c1", "ann", True), ("c2", "ann", True)],  # nothing said on c3
    (BETA, "agent_alone", "good-2"): "infra",
    # ann changed her mind on c1: the later verdict counts
    (BETA, "agent_alone", "good-3"): [
        ("c1", "ann", False),
        ("c1", "ann", True),
        ("c2", "ann", True),
        ("c3", "ann", True),
    ],
}
# outcome, all_criteria, required_criteria, n_passed, disagreement, near_miss
OUTCOMES = {
    (ALPHA, "agent_alone", "good-1"): ("graded", True, True, 3, False, False),
    (ALPHA, "agent_alone", "good-2"): ("pending", None, True, 2, True, False),
    (ALPHA, "agent_alone", "good-3"): ("graded", False, True, 2, False, True),
    (ALPHA, "agent_alone", "good-4"): ("graded", False, False, 0, False, False),
    (ALPHA, "feedback_1", "good-3"): ("infra", None, None, 0, False, False),
    (ALPHA, "feedback_1", "good-4"): ("graded", False, None, 1, False, False),
    (BETA, "agent_alone", "good-1"): ("pending", None, None, 2, False, False),
    (BETA, "agent_alone", "good-2"): ("infra", None, None, 0, False, False),
    (BETA, "agent_alone", "good-3"): ("graded", True, True, 3, False, False),
}
COUNTS = (
    "n_eligible",
    "n_attempted",
    "n_unattempted",
    "n_pending",
    "n_infra",
    "n_graded",
    "n_completed",
    "n_retried",
    "n_rescued",
)
# model, round, rule: category: the counts above, in their order
RATES = (
    {
        (ALPHA, "agent_alone", "all_criteria"): {
            "Writing": (2, 2, 0, 1, 0, 1, 1, 1, 1),
            "Data": (1, 1, 0, 0, 0, 1, 0, 1, 0),
            "unknown": (1, 1, 0, 0, 0, 1, 0, 1, 0),
        },
        (ALPHA, "agent_alone", "required_criteria"): {
            "Writing": (2, 2, 0, 0, 0, 2, 2, 2, 2),
            "Data": (1, 1, 0, 0, 0, 1, 1, 1, 1),
            "unknown": (1, 1, 0, 0, 0, 1, 0, 1, 0),
        },
        (ALPHA, "feedback_1", "all_criteria"): {
            "Writing": (2, 1, 1, 0, 0, 1, 1, 0, 0),
            "Data": (1, 1, 0, 0, 1, 0, 0, 0, 0),
            "unknown": (1, 1, 0, 0, 0, 1, 0, 1, 0),
        },
        (ALPHA, "feedback_1", "required_criteria"): {
            "Writing": (2, 2, 0, 0, 0, 2, 2, 0, 0),
            "Data": (1, 1, 0, 0, 0, 1, 1, 0, 0),
            "unknown": (1, 1, 0, 1, 0, 0, 0, 0, 0),
        },
    }
    | {
        (BETA, "agent_alone", rule): {
            "Writing": (2, 2, 0, 1, 1, 0, 0, 0, 0),
            "Data": (1, 1, 0, 0, 0, 1, 1, 1, 1),
            "unknown": (1, 0, 1, 0, 0, 0, 0, 0, 0),
        }
        for rule in ("all_criteria", "required_criteria")
    }
    | {
        (BETA, "feedback_1", rule): {
            "Writing": (2, 0, 2, 0, 0, 0, 0, 0, 0),
            "Data": (1, 1, 0, 0, 0, 1, 1, 0, 0),
            "unknown": (1, 0, 1, 0, 0, 0, 0, 0, 0),
        }
        for rule in ("all_criteria", "required_criteria")
    }
)


def rules(benchmark: Benchmark) -> Benchmark:
    """The scenario's benchmark: two to four criteria, two rounds."""
    return dataclasses.replace(benchmark, min_criteria=2, max_criteria=4, rounds=("agent_alone", "feedback_1"))


def criterion(job_id: str, criterion_id: str, importance: str, **changes: Any) -> dict[str, Any]:
    """A row of rubric_exports."""
    return {
        "job_id": job_id,
        "rubric_version": "r1",
        "criterion_id": criterion_id,
        "position": int(criterion_id[1:]),
        "text": f"{criterion_id} is met",
        "importance": importance,
        "source_file": "rubrics.csv",
        "source_sha256": "b" * 64,
        "source_row": next(_ROWS),
        "imported_at": NOON,
        "simulated": False,
    } | changes


def attempt(model: str, round_: str, job_id: str, **changes: Any) -> dict[str, Any]:
    """A row of attempts: one that handed in a file."""
    return {
        "attempt_id": f"{model} {round_} {job_id}",
        "cohort": COHORT,
        "model": model,
        "round": round_,
        "job_id": job_id,
        "turn": 0,
        "arm": "human",
        "sample": 1,
        "try_number": 1,
        "status": "done",
        "finish_reason": "finished",
        "steps": 3,
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "cost_usd": 0.25,
        "maybe_billed_steps": 0,
        "seconds": 9.0,
        "deliverables": "[]",
        "n_deliverables": 1,
        "request_sha256": "c" * 64,
        "agent_profile": "paper",
        "sandbox": "none",
        "code_version": "0",
        "finished_at": NOON,
        "is_current": True,
        "simulated": False,
    } | changes


def verdict(
    attempt_id: str, model: str, round_: str, job_id: str, vote: Vote, number: int, **changes: Any
) -> dict[str, Any]:
    """A row of verdict_exports; `judge` is the adjudicator, and a higher number came later."""
    criterion_id, grader, passed = vote
    return {
        "verdict_id": f"{attempt_id} {number}",
        "packet_id": f"packet of {attempt_id}",
        "attempt_id": attempt_id,
        "cohort": COHORT,
        "model": model,
        "round": round_,
        "job_id": job_id,
        "criterion_id": criterion_id,
        "rubric_version": "r1",
        "passed": passed,
        "comment": f"{grader} on {criterion_id}",
        "grader": grader,
        "grader_role": "adjudicator" if grader == "judge" else "grader",
        "minutes": 5.0,
        "graded_at": NOON + timedelta(minutes=number),
        "flags": [],
        "source_file": "v.csv",
        "source_sha256": "d" * 64,
        "source_row": number,
        "imported_at": NOON,
        "simulated": False,
        "is_current": True,
    } | changes


def take_in(lake: Lake, kind: str, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows straight into a ledger, with the manifest that makes them count."""
    number = f"{kind}-{len(lake.imports())}"
    partitions = TABLES[table].partitions
    for keys in {tuple(row[p] for p in partitions) for row in rows}:
        mine = [row for row in rows if tuple(row[p] for p in partitions) == keys]
        lake.append(table, number, table_of(table, mine), dict(zip(partitions, keys, strict=True)))
    lake.finish_import(
        Import(number, kind, None, (ImportedFile(f"{number}.csv", number, len(rows), 0),), NOON.isoformat())
    )


def make(lake: Lake, benchmark: Benchmark, table: str, scope: Mapping[str, str]) -> pa.Table:
    """Make one partition of a table from its SQL, as its asset does."""
    params = query_parameters(benchmark, dict(scope))
    rows = engine.run(lake, engine.query(table), scope, params, constant_relations(benchmark))
    lake.write(table, rows, scope)
    return rows


def curate(lake: Lake, benchmark: Benchmark, cohort: str = COHORT) -> None:
    """From the ledgers to the funnel, for one month."""
    scope = {"cohort": cohort}
    params = query_parameters(benchmark, dict(scope))
    make(lake, benchmark, "job_posts", scope)
    make(lake, benchmark, "rubrics", scope)
    make(lake, benchmark, "standing_criteria", scope)
    for rule in CHAIN:
        if rule == "pii_free_jobs":
            lake.write("pii_findings", pii_findings(lake, scope), scope)
        if rule == "selected_jobs":
            lake.write("job_signatures", duplicates.job_signatures(lake, scope), scope)
            lake.write("job_clusters", duplicates.job_clusters(lake, scope, benchmark.duplicates), scope)
        lake.write(rule, kept(lake, rule, scope, params), scope)
    lake.write("rejected_jobs", rejections(lake, scope, params), scope)
    lake.write("funnel_by_category", funnel_by_category(lake, scope, params), scope)
    make(lake, benchmark, "curation_funnel", scope)


def evaluate(lake: Lake, benchmark: Benchmark) -> None:
    """From attempts and the ledger of verdicts to the leaderboard."""
    for model in (ALPHA, BETA):
        for round_ in benchmark.rounds:
            rows = [
                attempt(m, r, job, **_fate(fate)) for (m, r, job), fate in ATTEMPTS.items() if (m, r) == (model, round_)
            ]
            keys = {"cohort": COHORT, "model": model, "round": round_}
            lake.write("attempts", table_of("attempts", rows), keys)
            make(lake, benchmark, "verdicts", keys)
        cell = {"cohort": COHORT, "model": model}
        make(lake, benchmark, "attempt_outcomes", cell)
        for table in ("job_states", "outcome_counts", "completion_rates"):
            make(lake, benchmark, table, cell)
    for table in (
        "window_rates",
        "leaderboard",
        "category_rates",
        "feedback_lift",
        "cycle_curves",
        "dataset_overview",
        "release_overview",
    ):
        make(lake, benchmark, table, SCOPE if TABLES[table].partitions else {})


def _fate(fate: str | list[Vote]) -> dict[str, Any]:
    if fate == "infra":
        return {"status": "infra", "finish_reason": "provider_error", "n_deliverables": 0, "cost_usd": 0.0}
    return {"n_deliverables": 0} if fate == "no files" else {}


def build(lake: Lake, benchmark: Benchmark) -> None:
    """The whole world, from the ledgers to the results."""
    take_in(lake, "jobs", "job_exports", POSTS)
    sizes = {
        "x-thin": RUBRIC[:1],
        "x-fat": (*RUBRIC, ("c4", "pitfall"), ("c5", "optional")),
        "x-unwritten": (),
    }
    take_in(
        lake,
        "rubrics",
        "rubric_exports",
        [
            criterion(p["job_id"], name, importance)
            for p in POSTS
            for name, importance in sizes.get(p["job_id"], RUBRIC)
        ],
    )
    curate(lake, benchmark)
    take_in(
        lake,
        "verdicts",
        "verdict_exports",
        [
            verdict(f"{m} {r} {job}", m, r, job, vote, number)
            for (m, r, job), votes in ATTEMPTS.items()
            if not isinstance(votes, str)
            for number, vote in enumerate(votes)
        ],
    )
    evaluate(lake, benchmark)
