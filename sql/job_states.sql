-- grain: job × round × rule, for each model of a cohort: where each job of the benchmark stands after each round
-- denominator: every job of the benchmark, attempted or not
-- repeated: of several samples of a job in a round the first one counts; repeatability has them all
-- cumulative: complete at this round or at an earlier one on its path; what is unknown is pending, never failed
-- method: a set of rounds is a number with a bit for each round, so that outcomes are grouped once and by job
WITH steps AS (
    SELECT step, 1::BIGINT << (row_number() OVER (ORDER BY step) - 1) AS bit FROM (SELECT DISTINCT step FROM round_paths)
),
paths AS (
    SELECT p.round, bit_or(s.bit) FILTER (WHERE p.step = p.round) AS this_round,
        bit_or(s.bit) FILTER (WHERE p.step <> p.round) AS rounds_before,
        bit_or(s.bit) FILTER (WHERE p.step = p.after) AS round_after
    FROM round_paths p JOIN steps s USING (step)
    GROUP BY p.round
),
-- the rounds in which a model was tried at a job, and in which of them it was complete and failed under each rule
tried AS (
    SELECT o.model, o.job_id, bit_or(s.bit) AS attempted, bit_or(s.bit) FILTER (WHERE o.outcome = 'infra') AS infra,
        bit_or(s.bit) FILTER (WHERE o.all_criteria) AS all_complete,
        bit_or(s.bit) FILTER (WHERE NOT o.all_criteria) AS all_failed,
        bit_or(s.bit) FILTER (WHERE o.required_criteria) AS required_complete,
        bit_or(s.bit) FILTER (WHERE NOT o.required_criteria) AS required_failed
    FROM attempt_outcomes o JOIN steps s ON s.step = o.round
    WHERE o.sample = 1
    GROUP BY o.model, o.job_id
),
models AS (
    SELECT c.cohort, c.model, any_value(cutoff_end(r.training_cutoff)) AS cutoff,
        coalesce(any_value(o.simulated), false) AS simulated
    FROM cells c
    LEFT JOIN registered_models r ON r.model = c.model
    LEFT JOIN (
        SELECT cohort, model, bool_or(simulated) AS simulated FROM attempt_outcomes GROUP BY cohort, model
    ) o ON o.cohort = c.cohort AND o.model = c.model
    GROUP BY c.cohort, c.model
),
jobs AS (
    SELECT cohort, job_id, coalesce(category, 'unknown') AS category, price_band(price_usd, $price_bands) AS price_band,
        price_usd, client_id, simulated, coalesce(posted_at, completed_at) AS posted_at
    FROM benchmark_jobs
),
fates AS (
    SELECT m.cohort, m.model, j.job_id, j.category, j.price_band, j.price_usd, j.client_id,
        j.posted_at >= m.cutoff AS after_cutoff, j.simulated OR m.simulated AS simulated, t.* EXCLUDE (model, job_id)
    FROM models m
    JOIN jobs j ON j.cohort = m.cohort
    LEFT JOIN tried t ON t.model = m.model AND t.job_id = j.job_id
),
by_rule AS (
    SELECT f.*, r.rule, CASE r.rule WHEN 'all_criteria' THEN all_complete ELSE required_complete END AS complete,
        CASE r.rule WHEN 'all_criteria' THEN all_failed ELSE required_failed END AS failed
    FROM fates f CROSS JOIN (VALUES ('all_criteria'), ('required_criteria')) r(rule)
),
states AS (
    SELECT b.cohort, b.model, p.round, b.rule, b.job_id, b.category, b.price_band, b.price_usd, b.client_id,
        b.after_cutoff, b.simulated,
        coalesce(b.complete & p.rounds_before, 0) > 0 AS complete_before,
        coalesce(b.failed & p.round_after, 0) > 0 AS failed_after,
        coalesce(b.complete & p.this_round, 0) > 0 AS complete_now,
        coalesce(b.failed & p.this_round, 0) > 0 AS failed_now,
        coalesce(b.infra & p.this_round, 0) > 0 AS infra,
        coalesce(b.attempted & p.this_round, 0) > 0 AS attempted
    FROM by_rule b CROSS JOIN paths p
)
SELECT cohort, model, round, rule, job_id, category, price_band, price_usd, client_id, after_cutoff, complete_before,
    failed_after AND NOT complete_before AS failed_before,
    CASE WHEN complete_before OR complete_now THEN 'complete'
         WHEN failed_now THEN 'failed'
         WHEN infra THEN 'infra'
         WHEN attempted THEN 'pending'
         ELSE 'unattempted' END AS state,
    simulated
FROM states
