"""Which jobs may be shown to the world with their texts: one answer for the report, the releases and the warehouse.

Numbers about all jobs are always public. Posts, rubrics, graders' comments and deliverables are public only for jobs
that are cleared here, by the setting `publish` of benchmark.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from hapi_pipeline.lake import Lake

if TYPE_CHECKING:
    from hapi_pipeline.registry import Registry

CLEARED_JOBS = "cleared_jobs.txt"
"""File of the registry that lists the jobs which may be published, where `publish.jobs` is `listed`."""


def clearance(lake: Lake, registry: Registry) -> Mapping[str, str]:
    """For every job of benchmark_jobs: '' where it may be published, else why not, in plain words.

    Raises UserError where the setting asks for a list of jobs that is missing.
    """
    rows = _jobs(lake)
    publish = registry.benchmark.publish
    listed = registry.cleared_jobs if publish.jobs == "listed" else frozenset()
    held_back = newest_cohorts({cohort for _, cohort, _ in rows}, publish.hold_back_months)
    return {
        job_id: _held_back(cohort, held_back, publish.hold_back_months)
        or _not_cleared(publish.jobs, job_id in listed, simulated)
        for job_id, cohort, simulated in rows
    }


def newest_cohorts(cohorts: set[str], months: int) -> frozenset[str]:
    """The newest so many of these months."""
    return frozenset(sorted(cohorts, reverse=True)[:months])


def _jobs(lake: Lake) -> list[tuple[str, str, bool]]:
    """Job, cohort and whether the post was made by the simulator."""
    rows = lake.read("benchmark_jobs", columns=["job_id", "cohort", "simulated"])
    return list(_rows(rows.to_pydict()))


def _rows(columns: Mapping[str, list[object]]) -> Iterator[tuple[str, str, bool]]:
    for job_id, cohort, simulated in zip(*(columns[c] for c in ("job_id", "cohort", "simulated")), strict=True):
        # where it is not known whether a post was simulated, it is a client's
        yield str(job_id), str(cohort), simulated is True


def _held_back(cohort: str, held_back: frozenset[str], months: int) -> str:
    if cohort not in held_back:
        return ""
    newest = "the newest month is" if months == 1 else f"the newest {months} months are"
    return f"held back: {newest} kept for evaluation only"


def _not_cleared(jobs: str, listed: bool, simulated: bool) -> str:
    if jobs == "none":
        return "no job is cleared for publication"
    if jobs == "simulated" and not simulated:
        return "a real client's job, and only simulated jobs are cleared for publication"
    if jobs == "listed" and not listed:
        return "not listed among the jobs cleared for publication"
    return ""
