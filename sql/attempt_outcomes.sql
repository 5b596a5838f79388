-- grain: attempt (the current one of each job, model, round and sample)
-- inputs: current verdicts on criteria as they stand today; adjudicators' verdicts, where there are any, override graders'
-- unknown: a criterion without a verdict, or on which graders disagree, stays unknown: it is never a pass or a fail
WITH standing AS (
    SELECT job_id, criterion_id, rubric_version, importance IN ('critical', 'important') AS required FROM rubrics
    UNION
    SELECT s.job_id, s.criterion_id, s.rubric_version, r.importance IN ('critical', 'important')
    FROM standing_criteria s JOIN rubrics r ON r.job_id = s.job_id AND r.criterion_id = s.criterion_id
    WHERE s.still_stands
),
-- by grouping once, for a window function takes several times as long
heard AS (
    SELECT v.attempt_id, v.criterion_id, any_value(s.required) AS required,
        count(v.passed) FILTER (WHERE v.grader_role = 'adjudicator') > 0 AS decided,
        bool_and(v.passed) FILTER (WHERE v.grader_role = 'adjudicator') AS all_decided,
        bool_or(v.passed) FILTER (WHERE v.grader_role = 'adjudicator') AS some_decided,
        bool_and(v.passed) AS all_said, bool_or(v.passed) AS some_said
    FROM verdicts v
    JOIN standing s
        ON s.job_id = v.job_id AND s.criterion_id = v.criterion_id AND s.rubric_version = v.rubric_version
    WHERE v.is_current
    GROUP BY v.attempt_id, v.criterion_id
),
per_criterion AS (
    SELECT attempt_id, required,
        CASE WHEN decided THEN all_decided ELSE all_said END AS every_one,
        CASE WHEN decided THEN some_decided ELSE some_said END AS any_one
    FROM heard
),
answered AS (
    SELECT attempt_id, count(*) AS n_answered, count(*) FILTER (WHERE every_one = any_one) AS n_judged,
        count(*) FILTER (WHERE every_one) AS n_passed, count(*) FILTER (WHERE NOT any_one) AS n_failed,
        count(*) FILTER (WHERE required AND NOT any_one) AS n_required_failed,
        count(*) FILTER (WHERE required AND every_one = any_one) AS n_required_judged,
        coalesce(bool_or(every_one <> any_one), false) AS disagreement
    FROM per_criterion GROUP BY attempt_id
),
minutes AS (
    SELECT attempt_id, sum(minutes ORDER BY packet_id, grader) AS grader_minutes, bool_or(simulated) AS simulated
    FROM (SELECT attempt_id, packet_id, grader, max(minutes) AS minutes, bool_or(simulated) AS simulated
          FROM verdicts WHERE is_current GROUP BY ALL)
    GROUP BY attempt_id
),
rubric_sizes AS (
    SELECT job_id, count(*) AS n_criteria, count(*) FILTER (WHERE importance IN ('critical', 'important')) AS n_required
    FROM rubrics GROUP BY job_id
),
summed AS (
    SELECT a.attempt_id, z.n_criteria, z.n_required,
        -- an attempt that hands in nothing fails every criterion without being graded
        CASE WHEN a.n_deliverables = 0 THEN z.n_criteria ELSE coalesce(n.n_judged, 0) END AS n_judged,
        CASE WHEN a.n_deliverables = 0 THEN 0 ELSE coalesce(n.n_passed, 0) END AS n_passed,
        CASE WHEN a.n_deliverables = 0 THEN z.n_criteria ELSE coalesce(n.n_failed, 0) END AS n_failed,
        CASE WHEN a.n_deliverables = 0 THEN 0 ELSE z.n_criteria - coalesce(n.n_answered, 0) END AS n_unanswered,
        CASE WHEN a.n_deliverables = 0 THEN z.n_required ELSE coalesce(n.n_required_failed, 0) END AS n_required_failed,
        CASE WHEN a.n_deliverables = 0 THEN 0
             ELSE z.n_required - coalesce(n.n_required_judged, 0) END AS n_required_unknown,
        coalesce(n.disagreement, false) AS disagreement
    FROM attempts a
    JOIN rubric_sizes z USING (job_id)
    LEFT JOIN answered n USING (attempt_id)
    WHERE a.is_current
)
SELECT a.attempt_id, a.cohort, a.model, a.round, a.job_id, coalesce(a.sample, 1) AS sample, b.category, s.n_criteria, s.n_judged, s.n_passed,
    CASE WHEN a.status = 'infra' OR s.n_unanswered > 0 THEN NULL
         WHEN s.n_failed > 0 THEN false
         WHEN s.n_judged = s.n_criteria THEN true END AS all_criteria,
    CASE WHEN a.status = 'infra' OR s.n_unanswered > 0 THEN NULL
         -- in a rubric that marks none as required, every criterion is
         WHEN s.n_required = 0 AND s.n_failed > 0 OR s.n_required_failed > 0 THEN false
         WHEN s.n_required = 0 AND s.n_judged < s.n_criteria THEN NULL
         WHEN s.n_required_unknown = 0 THEN true END AS required_criteria,
    CASE WHEN a.status = 'infra' THEN 'infra'
         WHEN s.n_unanswered > 0 OR s.n_judged < s.n_criteria AND s.n_failed = 0 THEN 'pending'
         ELSE 'graded' END AS outcome,
    s.disagreement, s.n_failed = 1 AND s.n_judged = s.n_criteria AS near_miss,
    a.cost_usd, m.grader_minutes,
    a.simulated OR b.simulated OR coalesce(m.simulated, false) AS simulated
FROM attempts a
JOIN benchmark_jobs b USING (job_id)
JOIN summed s USING (attempt_id)
LEFT JOIN minutes m USING (attempt_id)
WHERE a.is_current
