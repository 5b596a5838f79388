-- grain: rule × category × round × model
-- denominator: every job of the benchmark over all cohorts; all counts are sums of completion_rates
WITH summed AS (
    SELECT rule, category, round, model,
        count(DISTINCT cohort) AS cohorts, min(cohort) AS first_cohort, max(cohort) AS last_cohort,
        sum(n_eligible)::BIGINT AS n_eligible, sum(n_attempted)::BIGINT AS n_attempted,
        sum(n_unattempted)::BIGINT AS n_unattempted, sum(n_pending)::BIGINT AS n_pending,
        sum(n_infra)::BIGINT AS n_infra, sum(n_graded)::BIGINT AS n_graded, sum(n_completed)::BIGINT AS n_completed,
        sum(n_retried)::BIGINT AS n_retried, sum(n_rescued)::BIGINT AS n_rescued, bool_or(simulated) AS simulated
    FROM completion_rates GROUP BY ALL
),
rated AS (
    SELECT *,
        CASE WHEN n_graded > 0 THEN share(n_completed, n_eligible) END AS rate,
        CASE WHEN n_graded > 0 THEN wilson_lo(n_completed, n_eligible) END AS rate_lo,
        CASE WHEN n_graded > 0 THEN wilson_hi(n_completed, n_eligible) END AS rate_hi,
        share(n_completed, n_graded) AS rate_graded,
        share(n_completed, n_eligible) AS bound_lo,
        share(n_completed + n_eligible - n_graded, n_eligible) AS bound_hi
    FROM summed
)
SELECT * FROM rated
