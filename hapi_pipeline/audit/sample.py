"""The sample that curators judge: seeded, stratified by what the pipeline decided, in an order that hides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hapi_pipeline.audit.reasons import AUDITED, KEPT
from hapi_pipeline.engine import connect, open_tables
from hapi_pipeline.lake import Lake
from hapi_pipeline.naming import digest
from hapi_pipeline.registry import AuditPlan
from hapi_pipeline.settings import UserError


@dataclass(frozen=True)
class SampledJob:
    """A job as curators see it: the post, and nothing of what the pipeline made of it."""

    cohort: str
    job_id: str
    title: str | None
    description: str | None
    category: str | None
    price_usd: float | None
    job_type: str | None
    milestone_count: int | None
    price_changed: bool | None
    status: str | None
    paid: bool | None
    completed_at: datetime | None
    attachments: Sequence[str]
    simulated: bool = False


# bottom-k: the k smallest hashes of a stratum are a random sample of it, and those for a larger k contain those for a
# smaller one; a new post can push out at most one other
_SAMPLE = """
WITH decisions AS (
    SELECT job_id, $kept AS decision, $n_kept AS size FROM curated_jobs
    UNION ALL SELECT job_id, rule, $n FROM rejected_jobs WHERE list_contains($rules, rule)
),
drawn AS (
    SELECT job_id FROM decisions
    QUALIFY row_number() OVER (PARTITION BY decision ORDER BY sha256($seed || chr(31) || job_id), job_id) <= size
)
SELECT p.cohort, job_id, p.title, p.description, p.category, p.price_usd, p.job_type, p.milestone_count,
    p.price_changed, p.status, p.paid, p.completed_at, coalesce(p.attachments, []), p.simulated
FROM job_posts p SEMI JOIN drawn USING (job_id)
"""


def draw(lake: Lake, cohorts: Sequence[str], plan: AuditPlan) -> list[SampledJob]:
    """The sample of these months: `per_stratum` jobs of each month and rule, `kept_times` as many of those kept.

    The same posts, rules and seed give the same sample in the same order. Raises UserError for a month that is not
    curated.
    """
    found: list[SampledJob] = []
    for cohort in cohorts:
        scope = {"cohort": cohort}
        if not all(lake.path(table, scope).exists() for table in ("curated_jobs", "rejected_jobs")):
            raise UserError(f"{cohort} is not curated yet; `hapi refresh --cohort {cohort}` does it.")
        found += _draw_month(lake, scope, plan)
    # another hash than that of the sample: under it the jobs of small strata would come last
    return sorted(found, key=lambda job: digest("order", plan.seed, job.job_id))


def _draw_month(lake: Lake, scope: Mapping[str, str], plan: AuditPlan) -> list[SampledJob]:
    params: dict[str, Any] = {
        "kept": KEPT,
        "rules": list(AUDITED),
        "n": plan.per_stratum,
        "n_kept": plan.per_stratum * plan.kept_times,
        "seed": plan.seed,
    }
    with connect() as connection:
        open_tables(connection, lake, dict.fromkeys(("curated_jobs", "rejected_jobs", "job_posts"), scope))
        rows = connection.execute(_SAMPLE, params).fetchall()
    return [SampledJob(*row) for row in rows]
