-- grain: window × rule × round × model (rounds after the first)
-- denominator: the same jobs before and after; rescue_of_retried over those tried again, rescue_of_failed over all that failed
-- control: over jobs known after both this round and a second try without feedback that starts from the same round
WITH steps AS (
    SELECT DISTINCT round, after, arm FROM round_paths WHERE after IS NOT NULL
),
controls AS (
    SELECT r.round, c.round AS control_round
    FROM steps r JOIN steps c ON c.after = r.after AND c.arm = 'control' AND r.arm = 'human'
),
newest AS (
    SELECT cohort, row_number() OVER (ORDER BY cohort DESC) <= 12 AS is_recent
    FROM (SELECT DISTINCT cohort FROM outcome_counts)
),
paired AS (
    SELECT w.name AS "window", h.rule, h.round, h.model, k.control_round,
        count(*) FILTER (WHERE h.state = 'complete' AND c.state = 'complete') AS n_both,
        count(*) FILTER (WHERE h.state = 'complete' AND c.state = 'failed') AS n_only_feedback,
        count(*) FILTER (WHERE h.state = 'failed' AND c.state = 'complete') AS n_only_control,
        count(*) FILTER (WHERE h.state = 'failed' AND c.state = 'failed') AS n_neither
    FROM job_states h
    JOIN controls k ON k.round = h.round
    JOIN job_states c ON c.model = h.model AND c.cohort = h.cohort AND c.job_id = h.job_id AND c.rule = h.rule
        AND c.round = k.control_round
    JOIN newest n ON n.cohort = h.cohort
    JOIN (VALUES ('all'), ('last_12'), ('post_cutoff')) w(name)
        ON w.name = 'all' OR w.name = 'last_12' AND n.is_recent OR w.name = 'post_cutoff' AND h.after_cutoff
    WHERE h.state IN ('complete', 'failed') AND c.state IN ('complete', 'failed')
    GROUP BY ALL
)
SELECT now.window, now.rule, now.round, now.model, now.n_eligible, before.n_completed AS n_before,
    now.n_failed_before, now.n_never_retried, now.n_retried, now.n_rescued, now.n_failed_rescued, now.n_completed,
    before.rate AS rate_before, now.rate,
    100 * (now.rate - before.rate) AS lift_points,
    -- complete before is complete now, so no job is complete only before
    CASE WHEN now.rate IS NOT NULL AND before.rate IS NOT NULL THEN 100 * paired_lo(
        before.n_completed, now.n_completed - before.n_completed, 0, now.n_eligible - now.n_completed) END AS lift_lo,
    CASE WHEN now.rate IS NOT NULL AND before.rate IS NOT NULL THEN 100 * paired_hi(
        before.n_completed, now.n_completed - before.n_completed, 0, now.n_eligible - now.n_completed) END AS lift_hi,
    CASE WHEN before.rate > 0 THEN now.rate / before.rate - 1 END AS lift_relative,
    CASE WHEN before.rate < 1 THEN (now.rate - before.rate) / (1 - before.rate) END AS normalised_gain,
    share(now.n_rescued, now.n_retried) AS rescue_of_retried,
    wilson_lo(now.n_rescued, now.n_retried) AS rescue_lo,
    wilson_hi(now.n_rescued, now.n_retried) AS rescue_hi,
    share(now.n_failed_rescued, now.n_failed_before) AS rescue_of_failed,
    wilson_lo(now.n_failed_rescued, now.n_failed_before) AS rescue_of_failed_lo,
    wilson_hi(now.n_failed_rescued, now.n_failed_before) AS rescue_of_failed_hi,
    p.control_round, coalesce(p.n_both + p.n_only_feedback + p.n_only_control + p.n_neither, 0) AS n_paired,
    p.n_both, p.n_only_feedback, p.n_only_control, p.n_neither,
    100 * share(p.n_only_feedback - p.n_only_control, p.n_both + p.n_only_feedback + p.n_only_control + p.n_neither)
        AS net_points,
    100 * paired_lo(p.n_both, p.n_only_feedback, p.n_only_control, p.n_neither) AS net_lo,
    100 * paired_hi(p.n_both, p.n_only_feedback, p.n_only_control, p.n_neither) AS net_hi,
    now.simulated
FROM window_rates now
JOIN steps ON now.round = steps.round
JOIN window_rates before
    ON before.round = steps.after AND before.model = now.model AND before.rule = now.rule
    AND before.window = now.window AND before.scope = 'all'
LEFT JOIN paired p
    ON p.window = now.window AND p.rule = now.rule AND p.round = now.round AND p.model = now.model
WHERE now.scope = 'all'
