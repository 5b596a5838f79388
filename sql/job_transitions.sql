-- grain: attempt of a round after the first × importance, and 'all'
-- denominator: the criteria of the job's rubric as it stands (n_criteria); unknown before or after is counted apart
-- pairs: the attempt and the one whose work it went on from; control: the second try without feedback from the same work
WITH steps AS (
    SELECT DISTINCT round, after, arm FROM round_paths WHERE after IS NOT NULL
),
controls AS (
    SELECT r.round, c.round AS control_round
    FROM steps r JOIN steps c ON c.after = r.after AND c.arm = 'control' AND r.arm = 'human'
),
pairs AS (
    SELECT a.cohort, a.model, a.round, s.after, s.arm, a.job_id, a.client_id, a.attempt_id, k.control_round,
        b.passes AS passes_before, b.fails AS fails_before, a.passes, a.fails,
        c.passes AS passes_control, c.fails AS fails_control,
        len(b.passes) + len(b.fails) = b.n_criteria AND len(b.fails) > 0 AS incomplete_before,
        len(a.passes) + len(a.fails) = a.n_criteria AND len(a.fails) > 0 AS incomplete_after,
        a.simulated OR coalesce(b.simulated, false) OR coalesce(c.simulated, false) AS simulated
    FROM criterion_outcomes a
    JOIN steps s ON s.round = a.round
    LEFT JOIN criterion_outcomes b ON b.cohort = a.cohort AND b.model = a.model AND b.attempt_id = a.previous_attempt_id
    LEFT JOIN controls k ON k.round = a.round
    LEFT JOIN criterion_outcomes c ON c.is_current AND c.round = k.control_round AND c.job_id = a.job_id
        AND c.cohort = a.cohort AND c.model = a.model AND c.previous_attempt_id = a.previous_attempt_id
    WHERE a.is_current
),
marks AS (
    SELECT p.*, r.importance,
        CASE WHEN list_contains(passes_before, r.criterion_id) THEN true
             WHEN list_contains(fails_before, r.criterion_id) THEN false END AS before,
        CASE WHEN list_contains(passes, r.criterion_id) THEN true
             WHEN list_contains(fails, r.criterion_id) THEN false END AS now,
        CASE WHEN list_contains(passes_control, r.criterion_id) THEN true
             WHEN list_contains(fails_control, r.criterion_id) THEN false END AS other
    FROM pairs p JOIN rubrics r ON r.job_id = p.job_id
)
SELECT any_value(cohort) AS cohort, any_value(model) AS model, any_value(round) AS round, any_value(after) AS after,
    any_value(arm) AS arm, any_value(job_id) AS job_id, any_value(client_id) AS client_id, attempt_id,
    coalesce(importance, 'all') AS importance,
    count(*) AS n_criteria,
    count(*) FILTER (WHERE before IS NULL) AS n_unknown_before,
    count(*) FILTER (WHERE now IS NULL) AS n_unknown_after,
    count(*) FILTER (WHERE before AND now) AS n_still_passed,
    count(*) FILTER (WHERE before AND NOT now) AS n_broken,
    count(*) FILTER (WHERE NOT before AND now) AS n_fixed,
    count(*) FILTER (WHERE NOT before AND NOT now) AS n_still_failed,
    CASE WHEN any_value(incomplete_before)
         THEN any_value(len(fails_before)) = 1 AND count(*) FILTER (WHERE NOT before) = 1 END AS near_miss_before,
    CASE WHEN any_value(incomplete_after)
         THEN any_value(len(fails)) = 1 AND count(*) FILTER (WHERE NOT now) = 1 END AS near_miss_after,
    any_value(control_round) AS control_round,
    count(*) FILTER (WHERE NOT before AND now AND other) AS n_fixed_both,
    count(*) FILTER (WHERE NOT before AND now AND NOT other) AS n_fixed_feedback,
    count(*) FILTER (WHERE NOT before AND NOT now AND other) AS n_fixed_control,
    count(*) FILTER (WHERE NOT before AND NOT now AND NOT other) AS n_fixed_neither,
    bool_or(simulated) AS simulated
FROM marks
GROUP BY GROUPING SETS ((attempt_id, importance), (attempt_id))
