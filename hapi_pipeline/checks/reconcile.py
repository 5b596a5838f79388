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
_FAULTY_RATES = """
    n_eligible <> n_graded + n_pending + n_infra + n_unattempted OR n_completed > n_graded
    OR (rate IS NULL) <> (n_graded = 0) OR rate NOT BETWEEN rate_lo AND rate_hi
    OR rate NOT BETWEEN bound_lo AND bound_hi
    OR (rate_graded IS NULL) <> (n_graded = 0) OR rate_graded NOT BETWEEN rate_graded_lo AND rate_graded_hi
"""
RATES = f"""
SELECT cohort, model, round, category, rule, n_eligible, n_graded, n_pending, n_infra, n_unattempted, n_completed, rate
FROM completion_rates WHERE {_FAULTY_RATES} ORDER BY ALL
"""  # noqa: S608
WINDOW_RATES = f"""
SELECT w.window, model, round, scope, category, rule, n_eligible, n_graded, n_completed, rate, earn_rate, rate_std
FROM window_rates w
WHERE {_FAULTY_RATES}
   OR n_failed_rescued > n_failed_before OR n_priced > n_eligible OR usd_completed > usd_eligible
   OR (n_graded = 0 AND coalesce(earn_rate, rate_std, n_eff, mde_pp) IS NOT NULL)
   OR rate NOT BETWEEN rate_cl_lo AND rate_cl_hi OR earn_rate NOT BETWEEN earn_lo AND earn_hi
   OR rate_std NOT BETWEEN rate_std_lo AND rate_std_hi OR n_eff > n_eligible + 1e-6 OR std_covered NOT BETWEEN 0 AND 1
UNION ALL
SELECT "window", model, round, 'category', '(sum)', rule, n_eligible, n_graded, n_completed, NULL, NULL, NULL
FROM (
    SELECT "window", model, round, rule, scope, sum(n_eligible) AS n_eligible, sum(n_graded) AS n_graded,
        sum(n_completed) AS n_completed
    FROM window_rates GROUP BY ALL
)
GROUP BY ALL HAVING count(*) <> 2
ORDER BY ALL
"""  # noqa: S608
LIFT = """
SELECT l.window, model, round, rule, n_failed_before, n_retried, n_rescued, n_failed_rescued, n_paired
FROM feedback_lift l
WHERE (rescue_of_retried IS NULL) <> (n_retried = 0) OR (rescue_of_failed IS NULL) <> (n_failed_before = 0)
   OR (net_points IS NULL) <> (n_paired = 0) OR n_rescued > n_retried OR n_failed_rescued > n_failed_before
   OR n_before > n_completed OR n_paired <> coalesce(n_both + n_only_feedback + n_only_control + n_neither, 0)
   OR rescue_of_retried NOT BETWEEN rescue_lo AND rescue_hi OR net_points NOT BETWEEN net_lo AND net_hi
ORDER BY ALL
"""
CURVES = """
SELECT c.window, model, arm, turn, rule, n_eligible, n_at_risk, n_events, n_censored, hazard, curve
FROM cycle_curves c
WHERE (hazard IS NULL) <> (n_at_risk = 0) OR n_events > n_at_risk OR n_censored < 0
   OR n_at_risk + n_censored > n_eligible
   OR (curve IS NULL AND n_at_risk > 0 AND turn = 0) OR curve NOT BETWEEN curve_lo AND curve_hi
ORDER BY ALL
"""
REPEATS = """
SELECT r.window, model, round, rule, k, n_jobs, n_jobs_graded, n_jobs_k, n_attempts, n_graded, n_pending, n_infra
FROM repeatability r
WHERE n_attempts <> n_graded + n_pending + n_infra OR n_completed > n_graded OR n_jobs_k > n_jobs_graded
   OR (rate IS NULL) <> (n_jobs_graded = 0) OR (pass_hat_k IS NULL) <> (n_jobs_k = 0)
   OR rate NOT BETWEEN rate_lo AND rate_hi OR pass_hat_k NOT BETWEEN pass_hat_lo AND pass_hat_hi
   OR pass_at_k NOT BETWEEN pass_at_lo AND pass_at_hi OR pass_hat_k > pass_at_k + 1e-9
   OR rate_se_graders < rate_se - 1e-9
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
        _check(
            "window_rates",
            "window_counts_add_up",
            WINDOW_RATES,
            ["window_rates"],
            "The same over months, categories add up to all jobs, and nothing is said where nothing is graded.",
        ),
        _check(
            "feedback_lift",
            "lift_has_its_counts",
            LIFT,
            ["feedback_lift"],
            "A rescue rate stands over jobs that were tried again, and a net effect over jobs known in both arms.",
        ),
        _check(
            "cycle_curves",
            "curves_have_their_counts",
            CURVES,
            ["cycle_curves"],
            "A hazard stands over jobs at risk, and jobs are at risk, censored or complete before.",
        ),
        _check(
            "repeatability",
            "repeats_have_their_counts",
            REPEATS,
            ["repeatability"],
            "Attempts are graded, pending or infra, and a figure for k attempts stands over jobs that have so many.",
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
