-- grain: cohort × model × round × category × rule
-- denominator: every job of the benchmark in the cell (n_eligible); counts of coarser tables are sums of these
-- cumulative: complete at this round or at an earlier one on its path
WITH outcomes AS (
    SELECT job_id, round, outcome, all_criteria AS complete, 'all_criteria' AS rule FROM attempt_outcomes
    UNION ALL
    SELECT job_id, round, outcome, required_criteria, 'required_criteria' FROM attempt_outcomes
),
cells AS (
    SELECT b.job_id, coalesce(b.category, 'unknown') AS category, b.simulated, r.round, c.rule
    FROM benchmark_jobs b
    CROSS JOIN (SELECT DISTINCT round FROM round_paths) r
    CROSS JOIN (VALUES ('all_criteria'), ('required_criteria')) c(rule)
),
states AS (
    SELECT c.job_id, c.category, c.simulated, c.round, c.rule,
        coalesce(bool_or(o.complete) FILTER (WHERE p.step <> c.round), false) AS complete_before,
        count(*) FILTER (WHERE p.step = c.round AND o.job_id IS NOT NULL) > 0 AS attempted,
        coalesce(bool_or(o.outcome = 'infra') FILTER (WHERE p.step = c.round), false) AS infra,
        bool_or(o.complete) FILTER (WHERE p.step = c.round) AS complete_now
    FROM cells c
    JOIN round_paths p USING (round)
    LEFT JOIN outcomes o ON o.job_id = c.job_id AND o.round = p.step AND o.rule = c.rule
    GROUP BY ALL
),
counts AS (
    SELECT round, category, rule,
        count(*) AS n_eligible,
        count(*) FILTER (WHERE complete_before OR attempted) AS n_attempted,
        count(*) FILTER (WHERE NOT complete_before AND NOT attempted) AS n_unattempted,
        count(*) FILTER (WHERE NOT complete_before AND attempted AND NOT infra AND complete_now IS NULL) AS n_pending,
        count(*) FILTER (WHERE NOT complete_before AND attempted AND infra) AS n_infra,
        count(*) FILTER (WHERE complete_before OR complete_now IS NOT NULL) AS n_graded,
        count(*) FILTER (WHERE complete_before OR complete_now) AS n_completed,
        count(*) FILTER (WHERE NOT complete_before AND complete_now IS NOT NULL) AS n_retried,
        count(*) FILTER (WHERE NOT complete_before AND complete_now) AS n_rescued,
        bool_or(simulated) AS jobs_simulated
    FROM states GROUP BY ALL
)
SELECT $cohort AS cohort, $model AS model, round, category, rule,
    n_eligible, n_attempted, n_unattempted, n_pending, n_infra, n_graded, n_completed, n_retried, n_rescued,
    CASE WHEN n_graded > 0 THEN share(n_completed, n_eligible) END AS rate,
    CASE WHEN n_graded > 0 THEN wilson_lo(n_completed, n_eligible) END AS rate_lo,
    CASE WHEN n_graded > 0 THEN wilson_hi(n_completed, n_eligible) END AS rate_hi,
    share(n_completed, n_graded) AS rate_graded,
    share(n_completed, n_eligible) AS bound_lo,
    share(n_completed + n_eligible - n_graded, n_eligible) AS bound_hi,
    jobs_simulated OR coalesce((SELECT bool_or(simulated) FROM attempt_outcomes), false) AS simulated
FROM counts
