-- grain: job × round × rule, for one cohort and model: where each job of the benchmark stands after each round
-- denominator: every job of the benchmark, attempted or not
-- repeated: of several samples of a job in a round the first one counts; repeatability has them all
-- cumulative: complete at this round or at an earlier one on its path; what is unknown is pending, never failed
WITH outcomes AS (
    SELECT job_id, round, outcome, all_criteria AS complete, 'all_criteria' AS rule FROM attempt_outcomes WHERE sample = 1
    UNION ALL
    SELECT job_id, round, outcome, required_criteria, 'required_criteria' FROM attempt_outcomes WHERE sample = 1
),
tried AS (
    SELECT o.job_id, o.rule, p.round,
        coalesce(bool_or(o.complete) FILTER (WHERE p.step <> p.round), false) AS complete_before,
        coalesce(bool_or(NOT o.complete) FILTER (WHERE p.step = p.after), false) AS failed_after,
        bool_or(p.step = p.round) AS attempted,
        coalesce(bool_or(o.outcome = 'infra') FILTER (WHERE p.step = p.round), false) AS infra,
        bool_or(o.complete) FILTER (WHERE p.step = p.round) AS complete_now
    FROM outcomes o JOIN round_paths p ON p.step = o.round
    GROUP BY o.job_id, o.rule, p.round
),
cells AS (
    SELECT b.job_id, coalesce(b.category, 'unknown') AS category, price_band(b.price_usd, $price_bands) AS price_band,
        b.price_usd, b.client_id, b.simulated, r.round, c.rule,
        coalesce(b.posted_at, b.completed_at)
            >= cutoff_end((SELECT training_cutoff FROM registered_models WHERE model = $model)) AS after_cutoff
    FROM benchmark_jobs b
    CROSS JOIN (SELECT DISTINCT round FROM round_paths) r
    CROSS JOIN (VALUES ('all_criteria'), ('required_criteria')) c(rule)
)
SELECT $cohort AS cohort, $model AS model, c.round, c.rule, c.job_id, c.category, c.price_band, c.price_usd,
    c.client_id, c.after_cutoff,
    coalesce(t.complete_before, false) AS complete_before,
    coalesce(t.failed_after AND NOT t.complete_before, false) AS failed_before,
    CASE WHEN t.complete_before OR t.complete_now THEN 'complete'
         WHEN t.complete_now IS NOT NULL THEN 'failed'
         WHEN t.infra THEN 'infra'
         WHEN t.attempted THEN 'pending'
         ELSE 'unattempted' END AS state,
    c.simulated OR coalesce((SELECT bool_or(simulated) FROM attempt_outcomes), false) AS simulated
FROM cells c LEFT JOIN tried t ON t.job_id = c.job_id AND t.rule = c.rule AND t.round = c.round
