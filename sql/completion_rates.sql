-- grain: cohort × model × round × category × rule
-- denominator: every job of the benchmark in the cell (n_eligible); counts of coarser tables are sums of these
-- cumulative: complete at this round or at an earlier one on its path
WITH counts AS (
    SELECT cohort, model, round, category, rule,
        sum(n_eligible)::BIGINT AS n_eligible, sum(n_attempted)::BIGINT AS n_attempted,
        sum(n_unattempted)::BIGINT AS n_unattempted, sum(n_pending)::BIGINT AS n_pending,
        sum(n_infra)::BIGINT AS n_infra, sum(n_graded)::BIGINT AS n_graded, sum(n_completed)::BIGINT AS n_completed,
        sum(n_retried)::BIGINT AS n_retried, sum(n_rescued)::BIGINT AS n_rescued, bool_or(simulated) AS simulated
    FROM outcome_counts GROUP BY ALL
)
SELECT cohort, model, round, category, rule,
    n_eligible, n_attempted, n_unattempted, n_pending, n_infra, n_graded, n_completed, n_retried, n_rescued,
    CASE WHEN n_graded > 0 THEN share(n_completed, n_eligible) END AS rate,
    CASE WHEN n_graded > 0 THEN wilson_lo(n_completed, n_eligible) END AS rate_lo,
    CASE WHEN n_graded > 0 THEN wilson_hi(n_completed, n_eligible) END AS rate_hi,
    share(n_completed, n_graded) AS rate_graded,
    wilson_lo(n_completed, n_graded) AS rate_graded_lo,
    wilson_hi(n_completed, n_graded) AS rate_graded_hi,
    share(n_completed, n_eligible) AS bound_lo,
    share(n_completed + n_eligible - n_graded, n_eligible) AS bound_hi,
    simulated
FROM counts
