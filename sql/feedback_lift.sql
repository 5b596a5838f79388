-- grain: rule × round × model (rounds after the first)
-- denominator: the same jobs before and after; rescue_of_retried over those tried again, rescue_of_failed over all that failed
WITH steps AS (
    SELECT DISTINCT round, after FROM round_paths WHERE after IS NOT NULL
)
SELECT now.rule, now.round, now.model, now.n_eligible, before.n_completed AS n_before,
    before.n_graded - before.n_completed AS n_failed_before, now.n_retried, now.n_rescued, now.n_completed,
    before.rate AS rate_before, now.rate,
    100 * (now.rate - before.rate) AS lift_points,
    CASE WHEN before.rate > 0 THEN now.rate / before.rate - 1 END AS lift_relative,
    CASE WHEN before.rate < 1 THEN (now.rate - before.rate) / (1 - before.rate) END AS normalised_gain,
    share(now.n_rescued, now.n_retried) AS rescue_of_retried,
    share(now.n_rescued, before.n_graded - before.n_completed) AS rescue_of_failed,
    wilson_lo(now.n_rescued, now.n_retried) AS rescue_lo,
    wilson_hi(now.n_rescued, now.n_retried) AS rescue_hi,
    now.simulated
FROM leaderboard now
JOIN steps ON now.round = steps.round
JOIN leaderboard before ON before.round = steps.after AND before.model = now.model AND before.rule = now.rule
