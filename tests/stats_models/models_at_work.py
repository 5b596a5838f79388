"""A small lake of jobs, models and rounds with known outcomes: job_states, attempts and grades, as they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hapi_pipeline.lake import Lake
from hapi_pipeline.rounds import ROUND
from tests.scenario import NOON, attempt, table_of

RULES = ("all_criteria", "required_criteria")
HUMAN = ("agent_alone", "feedback_1", "feedback_2")
UNKNOWN = ("pending", "infra", "unattempted")


@dataclass(frozen=True)
class Fate:
    """What became of a job with a model in one round: True, False, or why it is unknown."""

    outcome: bool | str
    cost: float | None = 0.5
    minutes: tuple[float | None, ...] = (20.0,)  # of each grader of the first line
    lost: float | None = None  # cost of an earlier try that no longer counts
    files: int = 1


@dataclass(frozen=True)
class Job:
    """A job and its fates: model, then round."""

    job_id: str
    fates: Mapping[str, Mapping[str, Fate]]
    price: float = 100.0
    category: str = "Writing"
    band: str = "$100 to $200"
    client: str | None = None
    cohort: str = "2026-03"
    after: Mapping[str, bool | None] | None = None


def random_jobs(
    seed: int, n: int, models: Sequence[str], rounds: Sequence[str] = HUMAN, known: float = 0.9, months: int = 2
) -> list[Job]:
    """Jobs whose fates follow the rules: what is complete is not tried again, what failed mostly is."""
    dice = np.random.default_rng(seed)
    jobs = []
    for number in range(n):
        fates: dict[str, dict[str, Fate]] = {}
        for at, model in enumerate(models):
            fates[model] = {}
            for name in rounds:
                after = ROUND[name].after
                before = fates[model].get(after) if after else None
                if after and (before is None or before.outcome is not False):
                    continue
                sure = dice.random() < known
                outcome: bool | str = bool(dice.random() < 0.3 + 0.1 * at) if sure else str(dice.choice(UNKNOWN))
                minutes = tuple(float(m) for m in dice.integers(5, 40, dice.integers(1, 3)))
                lost = float(dice.random()) if dice.random() < 0.2 else None
                fates[model][name] = Fate(outcome, float(dice.lognormal(0, 1)), minutes, lost)
        jobs.append(
            Job(
                f"job {number:04d}",
                fates,
                price=float(dice.integers(5, 500)),
                category=str(dice.choice(["Writing", "Data"])),
                band=str(dice.choice(["under $100", "$100 and over"])),
                client=f"client {dice.integers(n)}" if dice.random() < 0.7 else None,
                cohort=f"{2025 + number % months // 12}-{1 + number % months % 12:02d}",
                after={model: bool(dice.random() < 0.5) for model in models},
            )
        )
    return jobs


def build(lake: Lake, jobs: Sequence[Job], models: Sequence[str], rounds: Sequence[str] = HUMAN) -> Lake:
    """Write what the fates come to."""
    for cohort in sorted({job.cohort for job in jobs}):
        mine = [job for job in jobs if job.cohort == cohort]
        for model in models:
            cell = {"cohort": cohort, "model": model}
            states = [row for job in mine for row in _states(job, model, rounds)]
            lake.write("job_states", table_of("job_states", states), cell)
            lake.write("grades", table_of("grades", [g for job in mine for g in _grades(job, model)]), cell)
            for name in rounds:
                tries = [row for job in mine for row in _attempts(job, model, name)]
                lake.write("attempts", table_of("attempts", tries), {**cell, "round": name})
    return lake


def built(folder: Path, jobs: Sequence[Job], models: Sequence[str], rounds: Sequence[str] = HUMAN) -> Lake:
    """A lake of its own."""
    return build(Lake(folder / "lake"), jobs, models, rounds)


def state(job: Job, model: str, name: str) -> tuple[bool, str]:
    """Whether the job was complete before the round, and where it stands after it."""
    fates = job.fates.get(model, {})
    before = any(step in fates and fates[step].outcome is True for step in ROUND[name].path[:-1])
    now = fates[name].outcome if name in fates else "unattempted"
    return before, "complete" if before or now is True else "failed" if now is False else str(now)


def _states(job: Job, model: str, rounds: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for name in rounds:
        before, now = state(job, model, name)
        for rule in RULES:
            rows.append(
                {
                    "cohort": job.cohort,
                    "model": model,
                    "round": name,
                    "rule": rule,
                    "job_id": job.job_id,
                    "category": job.category,
                    "price_band": job.band,
                    "price_usd": job.price,
                    "client_id": job.client,
                    "after_cutoff": job.after.get(model) if job.after else None,
                    "complete_before": before,
                    "failed_before": False,
                    "state": now,
                    "simulated": False,
                }
            )
    return rows


def _name(job: Job, model: str, round_: str) -> str:
    return f"{model} {round_} {job.job_id}"


def _attempts(job: Job, model: str, name: str) -> list[dict[str, Any]]:
    fate = job.fates.get(model, {}).get(name)
    if fate is None or fate.outcome == "unattempted":
        return []
    status = "infra" if fate.outcome == "infra" else "done"
    changes = {"cohort": job.cohort, "status": status, "n_deliverables": fate.files, "finished_at": NOON}
    rows = [attempt(model, name, job.job_id, cost_usd=fate.cost, **changes)]
    if fate.lost is not None:
        old = {"attempt_id": f"old {_name(job, model, name)}", "is_current": False, "cost_usd": fate.lost}
        rows.append(attempt(model, name, job.job_id, **{**changes, **old}))
    return rows


def _grades(job: Job, model: str) -> list[dict[str, Any]]:
    return [
        {
            "attempt_id": _name(job, model, name),
            "cohort": job.cohort,
            "model": model,
            "round": name,
            "job_id": job.job_id,
            "grader": f"grader {i}",
            "grader_role": "grader" if i == 0 else "second",
            "n_graders": len(fate.minutes),
            "n_criteria": 5,
            "n_answered": 5,
            "n_passed": 5,
            "n_failed": 0,
            "minutes": minutes,
            "simulated": False,
        }
        for name, fate in job.fates.get(model, {}).items()
        if isinstance(fate.outcome, bool) and fate.files
        for i, minutes in enumerate(fate.minutes)
    ]


def renamed(jobs: Sequence[Job], **names: str) -> list[Job]:
    """The same jobs with a model's fates under another name as well."""
    return [
        replace(
            job,
            fates={**job.fates, **{new: job.fates[old] for new, old in names.items()}},
            after=job.after and {**job.after, **{new: job.after[old] for new, old in names.items()}},
        )
        for job in jobs
    ]
