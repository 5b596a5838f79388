"""Counts that must agree between tables; each check lists the partitions in which they do not."""

from typing import Any

import dagster as dg

from hapi_pipeline import engine
from hapi_pipeline.lake import Lake
from hapi_pipeline.resources import HapiHome

FUNNEL = """
SELECT cohort, rule, n_in, n_kept, n_rejected, n_unknown,
       lag(n_kept) OVER (PARTITION BY cohort ORDER BY position) AS kept_before
FROM curation_funnel
QUALIFY n_in <> n_kept + n_rejected + n_unknown OR coalesce(n_in <> kept_before, false)
ORDER BY cohort, position
"""
FUNNEL_BY_CATEGORY = """
WITH counts AS (
    UNPIVOT (SELECT cohort, rule, n_in, n_kept, n_rejected, n_unknown, n_alone FROM curation_funnel)
    ON n_in, n_kept, n_rejected, n_unknown, n_alone INTO NAME count VALUE jobs
),
by_category AS (
    UNPIVOT (
        SELECT cohort, rule, sum(n_in)::BIGINT AS n_in, sum(n_kept)::BIGINT AS n_kept,
               sum(n_rejected)::BIGINT AS n_rejected, sum(n_unknown)::BIGINT AS n_unknown,
               sum(n_alone)::BIGINT AS n_alone
        FROM funnel_by_category GROUP BY ALL
    )
    ON n_in, n_kept, n_rejected, n_unknown, n_alone INTO NAME count VALUE jobs
)
SELECT cohort, rule, count, coalesce(f.jobs, 0) AS jobs, coalesce(c.jobs, 0) AS jobs_by_category
FROM counts f FULL JOIN by_category c USING (cohort, rule, count)
WHERE coalesce(f.jobs, 0) <> coalesce(c.jobs, 0)
UNION ALL
SELECT cohort, rule, category, n_in, n_kept + n_rejected + n_unknown
FROM funnel_by_category WHERE n_in <> n_kept + n_rejected + n_unknown
ORDER BY ALL
"""
RATES = """
SELECT cohort, model, round, category, rule, n_eligible, n_graded, n_pending, n_infra, n_unattempted, n_completed, rate
FROM completion_rates
WHERE n_eligible <> n_graded + n_pending + n_infra + n_unattempted OR n_completed > n_graded
   OR rate IS NULL <> (n_graded = 0) OR rate NOT BETWEEN rate_lo AND rate_hi OR rate NOT BETWEEN bound_lo AND bound_hi
ORDER BY ALL
"""
ORPHANS = """
SELECT v.cohort, v.model, v.round, v.attempt_id, count(*) AS verdicts
FROM verdicts v ANTI JOIN attempts a ON a.attempt_id = v.attempt_id
GROUP BY ALL ORDER BY ALL
"""


def violations(lake: Lake, sql: str, tables: list[str]) -> list[dict[str, Any]]:
    """The rows that a check's SQL finds; it is written so that it finds none."""
    with engine.connect() as connection:
        engine.open_tables(connection, lake, tables)
        found: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
    return found


def reconciliation_checks() -> list[dg.AssetChecksDefinition]:
    """The checks, blocking: what follows from counts that do not agree must not run."""
    return [
        _check(
            "curation_funnel",
            "funnel_reconciles",
            FUNNEL,
            ["curation_funnel"],
            "Every job that enters a rule is kept, rejected or unknown, and what a rule keeps enters the next.",
        ),
        _check(
            "curation_funnel",
            "categories_add_up",
            FUNNEL_BY_CATEGORY,
            ["curation_funnel", "funnel_by_category"],
            "The funnels of the categories add up to that of the month, and each reconciles by itself.",
        ),
        _check(
            "completion_rates",
            "counts_add_up",
            RATES,
            ["completion_rates"],
            "Eligible jobs are graded, pending, infra or unattempted, and rates lie within their bounds.",
        ),
    ]


def _check(asset: str, name: str, sql: str, tables: list[str], meaning: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=[asset], name=name, description=meaning, blocking=True)
    def check(hapi: HapiHome) -> dg.AssetCheckResult:
        found = violations(hapi.lake, sql, tables)
        shown = [dg.TableRecord({k: str(v) for k, v in row.items()}) for row in found[:20]]
        metadata: dict[str, Any] = {"violations": len(found)}
        if shown:
            metadata["first violations"] = dg.MetadataValue.table(shown)
        return dg.AssetCheckResult(passed=not found, metadata=metadata)

    return check
