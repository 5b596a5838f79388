"""Why a job is attempted or not: one state and one sentence for each model, round and job of the benchmark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hapi_pipeline.agents.ledger import MAX_TRIES
from hapi_pipeline.engine import connect, open_tables, quoted
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark, Model
from hapi_pipeline.rounds import ROUND, Round

STATES = {
    "attempted": "an attempt that counts is there",
    "complete_already": "complete after an earlier round, so nothing is tried again",
    "verdicts_incomplete": "an earlier attempt has no complete verdict yet",
    "not_due": "the round is not run, or there is no earlier attempt to follow up",
    "retired": "due, but the model is retired",
    "failed_infra": "every try so far failed for reasons that are not the model's",
    "awaited": "due, and to be handed in by the author of an external agent",
    "left": "due, and not made yet: not started, a budget used up, a provider that failed",
}
"""What a job can be to a model in a round, and what each word means."""

Key = tuple[str, str, str]
"""(model, round, job)"""
LEFT = "open"
"""How the inputs of a partition of `attempts` begin while something that is due is missing."""


@dataclass(frozen=True)
class Standing:
    """What one job is to one model in one round."""

    cohort: str
    model: str
    round: str
    job_id: str
    state: str
    why: str


@dataclass(frozen=True)
class Facts:
    """What the tables say of some months: enough to tell the standing of each of their jobs."""

    jobs: Sequence[tuple[str, str]]  # (cohort, job)
    tries: Mapping[Key, tuple[bool, int]]  # (whether one is done, the number of the current try)
    outcomes: Mapping[Key, bool | None]  # whether complete; None while pending
    reasons: Mapping[tuple[str, str, str], str]  # (cohort, model, round) -> why something is left


def marked_open(reasons: Iterable[str]) -> str:
    """The inputs under which attempts are kept while something is missing, with the reasons."""
    return ": ".join([LEFT, *([" ".join(told)] if (told := sorted(set(reasons))) else [])])


def standings(
    facts: Facts, models: Iterable[Model], benchmark: Benchmark, rounds: Iterable[Round]
) -> Iterator[Standing]:
    """The standing of every job for every model and round, in that order."""
    listed = list(rounds)
    for model in models:
        for cohort, job_id in facts.jobs:
            for this in listed:
                state, why = _standing(facts, model, benchmark, this, cohort, job_id)
                yield Standing(cohort, model.name, this.name, job_id, state, why)


def _standing(
    facts: Facts, model: Model, benchmark: Benchmark, this: Round, cohort: str, job_id: str
) -> tuple[str, str]:
    done, tries = facts.tries.get((model.name, this.name, job_id), (False, 0))
    if done:
        return "attempted", "attempted"
    if tries >= MAX_TRIES:
        return "failed_infra", f"failed {tries} times for reasons that are not the model's; not tried again by itself"
    if this.name not in benchmark.rounds:
        return "not_due", "this round is not among the rounds of benchmark.yaml"
    waits = _waits(facts, model, this, job_id)
    if waits:
        return waits
    if model.retired:
        return "retired", "the model is retired"
    if tries:
        return "failed_infra", f"failed {tries} time(s) for reasons that are not the model's; the next run tries again"
    if model.external:
        return "awaited", "due; its author has handed in nothing yet"
    reason = facts.reasons.get((cohort, model.name, this.name), "")
    return "left", f"due and not made: {reason}" if reason else "due; the next run makes it"


def _waits(facts: Facts, model: Model, this: Round, job_id: str) -> tuple[str, str] | None:
    """Why the rounds before stand against an attempt; None when it is due."""
    for name in this.path[:-1]:
        key = (model.name, name, job_id)
        if not facts.tries.get(key, (False, 0))[0]:
            return "not_due", f"there is no attempt of {name} to follow up"
        complete = facts.outcomes.get(key)
        if complete is None:
            return "verdicts_incomplete", f"the verdicts on the attempt of {name} are not complete"
        if complete:
            return "complete_already", f"complete after {name}"
    return None


def facts_of(
    lake: Lake,
    benchmark: Benchmark,
    *,
    job_id: str | None = None,
    cohorts: Collection[str] | None = None,
    outcomes: Iterable[Mapping[str, Any]] | None = None,
) -> Facts:
    """The facts from the tables, of one job, of some months or of all.

    `outcomes` are rows of attempt_outcomes to use instead of the table, which is as old as the last refresh.
    """
    where = " AND ".join(
        ["true"]
        + ([f"job_id = {quoted(job_id)}"] if job_id is not None else [])
        + ([f"cohort IN ({', '.join(map(quoted, cohorts)) or 'NULL'})"] if cohorts is not None else [])
    )
    with connect() as connection:
        open_tables(connection, lake, ["benchmark_jobs", "attempts", "attempt_outcomes"])

        def ask(sql: str) -> list[tuple[Any, ...]]:
            return connection.execute(sql).fetchall()

        jobs = ask(f"SELECT cohort, job_id FROM benchmark_jobs WHERE {where} ORDER BY ALL")  # noqa: S608
        tries = ask(
            "SELECT model, round, job_id, bool_or(status = 'done'), max(try_number) FROM attempts "  # noqa: S608
            f"WHERE is_current AND coalesce(sample, 1) = 1 AND {where} GROUP BY ALL"
        )
        known = (
            ask(
                f"SELECT model, round, job_id, outcome, {benchmark.completion_rule} FROM attempt_outcomes "  # noqa: S608
                f"WHERE coalesce(sample, 1) = 1 AND {where}"
            )
            if outcomes is None
            else [
                (o["model"], o["round"], o["job_id"], o["outcome"], o[benchmark.completion_rule])
                for o in outcomes
                if o["sample"] == 1
            ]
        )
    return Facts(
        jobs,
        {(model, round_, job): (done, number) for model, round_, job, done, number in tries},
        {(m, r, j): complete if outcome == "graded" else None for m, r, j, outcome, complete in known},
        _reasons(lake, {cohort for cohort, _ in jobs}),
    )


def _reasons(lake: Lake, cohorts: Collection[str]) -> dict[tuple[str, str, str], str]:
    """Why attempts are missing, as the run that left them put it down."""
    found = {}
    for keys in lake.partitions("attempts"):
        inputs = (lake.inputs("attempts", keys) or "") if keys["cohort"] in cohorts else ""
        if inputs.startswith(f"{LEFT}: "):
            found[keys["cohort"], keys["model"], keys["round"]] = inputs.removeprefix(f"{LEFT}: ")
    return found


def counted(found: Iterable[Standing]) -> dict[tuple[str, str], Counter[str]]:
    """How many jobs of each state there are, by model and round."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for standing in found:
        counts.setdefault((standing.model, standing.round), Counter())[standing.state] += 1
    return counts


def count_rows(lake: Lake, models: Iterable[Model], benchmark: Benchmark) -> tuple[list[str], list[list[Any]]]:
    """A table for people: a row a model and round, a column a state that occurs."""
    rounds = [ROUND[name] for name in benchmark.rounds]
    counts = counted(standings(facts_of(lake, benchmark), models, benchmark, rounds))
    states = [state for state in STATES if any(c[state] for c in counts.values())]
    head = ["model", "round", *(state.replace("_", " ") for state in states)]
    return head, [[model, name, *(c[state] for state in states)] for (model, name), c in counts.items()]


def not_attempted(lake: Lake, models: Iterable[Model], benchmark: Benchmark, job_id: str) -> list[dict[str, Any]]:
    """Why a job has no attempt, for each model and round in which it has none."""
    rounds = [ROUND[name] for name in benchmark.rounds]
    found = standings(facts_of(lake, benchmark, job_id=job_id), models, benchmark, rounds)
    return [
        {"model": s.model, "round": s.round, "state": s.state, "why": s.why} for s in found if s.state != "attempted"
    ]
