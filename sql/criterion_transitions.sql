-- grain: model × round (after the first) × importance, and 'all'
-- denominator: fix_rate over criteria failed before and known after, regression_rate over those passed before and known after, pass rates over those known at both times
-- intervals: criteria of one client's jobs are alike, so the client is the unit; a job whose client is unknown counts as one
WITH clients AS (
    SELECT model, round, after, arm, importance, coalesce('client ' || client_id, 'job ' || job_id) AS client,
        count(DISTINCT job_id) AS n_jobs, sum(n_criteria) AS n_criteria,
        sum(n_unknown_before) AS n_unknown_before, sum(n_unknown_after) AS n_unknown_after,
        sum(n_still_passed)::BIGINT AS kept, sum(n_broken)::BIGINT AS broken,
        sum(n_fixed)::BIGINT AS fixed, sum(n_still_failed)::BIGINT AS failed,
        count(near_miss_before) AS incomplete_before, count(*) FILTER (WHERE near_miss_before) AS near_before,
        count(near_miss_after) AS incomplete_after, count(*) FILTER (WHERE near_miss_after) AS near_after,
        max(control_round) AS control_round, sum(n_fixed_both)::BIGINT AS n11, sum(n_fixed_feedback)::BIGINT AS n10,
        sum(n_fixed_control)::BIGINT AS n01, sum(n_fixed_neither)::BIGINT AS n00, bool_or(simulated) AS simulated
    FROM job_transitions
    GROUP BY ALL
),
counts AS (
    SELECT model, round, after, arm, importance, max(control_round) AS control_round, bool_or(simulated) AS simulated,
        sum(n_jobs)::BIGINT AS n_jobs, count(*) AS n_clients, sum(n_criteria)::BIGINT AS n_criteria,
        sum(n_unknown_before)::BIGINT AS n_unknown_before, sum(n_unknown_after)::BIGINT AS n_unknown_after,
        sum(kept)::BIGINT AS n_still_passed, sum(broken)::BIGINT AS n_broken, sum(fixed)::BIGINT AS n_fixed,
        sum(failed)::BIGINT AS n_still_failed, sum(kept + broken + fixed + failed)::BIGINT AS n_known,
        sum(incomplete_before)::BIGINT AS n_incomplete_before, sum(near_before)::BIGINT AS n_near_miss_before,
        sum(incomplete_after)::BIGINT AS n_incomplete_after, sum(near_after)::BIGINT AS n_near_miss_after,
        sum(n11)::BIGINT AS n_fixed_both, sum(n10)::BIGINT AS n_fixed_feedback, sum(n01)::BIGINT AS n_fixed_control,
        sum(n00)::BIGINT AS n_fixed_neither
    FROM clients
    GROUP BY model, round, after, arm, importance
),
-- x of n for every client; of a difference x = gained - lost, and apart = gained + lost
measured AS (
    SELECT c.model, c.round, c.importance, k.kind,
        CASE k.kind WHEN 'fix' THEN c.fixed WHEN 'regression' THEN c.broken WHEN 'before' THEN c.kept + c.broken
            WHEN 'after' THEN c.kept + c.fixed WHEN 'near_before' THEN c.near_before WHEN 'near_after' THEN c.near_after
            WHEN 'change' THEN c.fixed - c.broken WHEN 'net' THEN c.n10 - c.n01 END AS x,
        CASE k.kind WHEN 'fix' THEN c.fixed + c.failed WHEN 'regression' THEN c.kept + c.broken
            WHEN 'near_before' THEN c.incomplete_before WHEN 'near_after' THEN c.incomplete_after
            WHEN 'net' THEN c.n11 + c.n10 + c.n01 + c.n00 ELSE c.kept + c.broken + c.fixed + c.failed END AS n,
        CASE k.kind WHEN 'change' THEN c.fixed + c.broken WHEN 'net' THEN c.n10 + c.n01 ELSE 0 END AS apart
    FROM clients c
    CROSS JOIN (VALUES ('fix'), ('regression'), ('before'), ('after'), ('near_before'), ('near_after'), ('change'), ('net'))
        k(kind)
),
summed AS (
    SELECT model, round, importance, kind, count(*) AS c, sum(n)::BIGINT AS n, sum(x)::BIGINT AS x,
        sum(apart)::BIGINT AS apart, sum(x * x)::DOUBLE AS dd, sum(x * n)::DOUBLE AS dj, sum(n * n)::DOUBLE AS jj
    FROM measured
    WHERE n > 0
    GROUP BY ALL
),
-- as many independent criteria (or attempts) as would tell as much
sized AS (
    SELECT model, round, importance, kind, x, n,
        CASE WHEN kind IN ('change', 'net') THEN n * paired_scale(c, n, x, apart, dd, dj, jj)
             ELSE effective_n(c, n, x, dd, dj, jj) END AS n_eff
    FROM summed
),
ends AS (
    SELECT model, round, importance, kind, n_eff / n AS scale,
        CASE WHEN kind NOT IN ('change', 'net') THEN wilson_lo(x / n::DOUBLE * n_eff, n_eff) END AS lo,
        CASE WHEN kind NOT IN ('change', 'net') THEN wilson_hi(x / n::DOUBLE * n_eff, n_eff) END AS hi
    FROM sized
),
intervals AS (
    SELECT model, round, importance,
        max(lo) FILTER (WHERE kind = 'fix') AS fix_lo, max(hi) FILTER (WHERE kind = 'fix') AS fix_hi,
        max(lo) FILTER (WHERE kind = 'regression') AS regression_lo,
        max(hi) FILTER (WHERE kind = 'regression') AS regression_hi,
        max(lo) FILTER (WHERE kind = 'before') AS pass_before_lo, max(hi) FILTER (WHERE kind = 'before') AS pass_before_hi,
        max(lo) FILTER (WHERE kind = 'after') AS pass_after_lo, max(hi) FILTER (WHERE kind = 'after') AS pass_after_hi,
        max(lo) FILTER (WHERE kind = 'near_before') AS near_miss_before_lo,
        max(hi) FILTER (WHERE kind = 'near_before') AS near_miss_before_hi,
        max(lo) FILTER (WHERE kind = 'near_after') AS near_miss_after_lo,
        max(hi) FILTER (WHERE kind = 'near_after') AS near_miss_after_hi,
        max(scale) FILTER (WHERE kind = 'change') AS s, max(scale) FILTER (WHERE kind = 'net') AS t
    FROM ends
    GROUP BY model, round, importance
),
joined AS (
    SELECT c.*, i.fix_lo, i.fix_hi, i.regression_lo, i.regression_hi, i.pass_before_lo, i.pass_before_hi,
        i.pass_after_lo, i.pass_after_hi, i.near_miss_before_lo, i.near_miss_before_hi, i.near_miss_after_lo,
        i.near_miss_after_hi,
        c.n_still_passed * i.s AS s11, c.n_fixed * i.s AS s10, c.n_broken * i.s AS s01, c.n_still_failed * i.s AS s00,
        c.n_fixed_both * i.t AS t11, c.n_fixed_feedback * i.t AS t10, c.n_fixed_control * i.t AS t01,
        c.n_fixed_neither * i.t AS t00
    FROM counts c
    LEFT JOIN intervals i ON i.model = c.model AND i.round = c.round AND i.importance = c.importance
)
SELECT model, round, after, arm, importance, n_jobs, n_clients, n_criteria, n_unknown_before, n_unknown_after, n_known,
    n_still_passed, n_broken, n_fixed, n_still_failed,
    share(n_fixed, n_fixed + n_still_failed) AS fix_rate, fix_lo, fix_hi,
    share(n_broken, n_still_passed + n_broken) AS regression_rate, regression_lo, regression_hi,
    share(n_still_passed + n_broken, n_known) AS pass_before, pass_before_lo, pass_before_hi,
    share(n_still_passed + n_fixed, n_known) AS pass_after, pass_after_lo, pass_after_hi,
    100 * share(n_fixed - n_broken, n_known) AS change_points,
    100 * paired_lo(s11, s10, s01, s00) AS change_lo, 100 * paired_hi(s11, s10, s01, s00) AS change_hi,
    n_incomplete_before, n_near_miss_before, share(n_near_miss_before, n_incomplete_before) AS near_miss_before_share,
    near_miss_before_lo, near_miss_before_hi,
    n_incomplete_after, n_near_miss_after, share(n_near_miss_after, n_incomplete_after) AS near_miss_after_share,
    near_miss_after_lo, near_miss_after_hi,
    control_round, n_fixed_both, n_fixed_feedback, n_fixed_control, n_fixed_neither,
    share(n_fixed_both + n_fixed_control, n_fixed_both + n_fixed_feedback + n_fixed_control + n_fixed_neither)
        AS control_fix_rate,
    100 * share(n_fixed_feedback - n_fixed_control, n_fixed_both + n_fixed_feedback + n_fixed_control + n_fixed_neither)
        AS net_fix_points,
    100 * paired_lo(t11, t10, t01, t00) AS net_fix_lo, 100 * paired_hi(t11, t10, t01, t00) AS net_fix_hi,
    simulated
FROM joined
