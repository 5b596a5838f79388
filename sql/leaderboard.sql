-- grain: rule × round × model
-- denominator: every job of the benchmark over all cohorts; all counts are sums of completion_rates
WITH summed AS (
    SELECT rule, round, model,
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
, spent AS (
    SELECT a.model, p.round, count(*) AS n_attempts, 
        -- one unknown cost makes the sum unknown: a part of it would pass for the whole
        CASE WHEN count(*) = count(a.cost_usd) THEN sum(a.cost_usd ORDER BY a.attempt_id) END AS cost_usd
    FROM attempts a JOIN round_paths p ON a.round = p.step
    GROUP BY ALL
)
SELECT r.*, coalesce(s.n_attempts, 0) AS n_attempts, s.cost_usd,
    CASE WHEN r.rate IS NOT NULL THEN rank() OVER (PARTITION BY r.rule, r.round ORDER BY r.rate DESC NULLS LAST) END AS rank
FROM rated r LEFT JOIN spent s USING (model, round)
