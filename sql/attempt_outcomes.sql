-- grain: attempt (the current one of each job, model, round and sample)
-- inputs: current verdicts on criteria as they stand today; adjudicators' verdicts, where there are any, override graders'
-- unknown: a criterion without a verdict, or on which graders disagree, stays unknown: it is never a pass or a fail
WITH voices AS (
    SELECT v.attempt_id, v.criterion_id, v.passed,
        v.grader_role = 'adjudicator' OR count(v.passed) FILTER (WHERE v.grader_role = 'adjudicator')
            OVER (PARTITION BY v.attempt_id, v.criterion_id) = 0 AS counts
    FROM verdicts v
    JOIN rubrics r ON r.job_id = v.job_id AND r.criterion_id = v.criterion_id
    LEFT JOIN standing_criteria s
        ON s.job_id = v.job_id AND s.criterion_id = v.criterion_id AND s.rubric_version = v.rubric_version
    WHERE v.is_current AND (v.rubric_version = r.rubric_version OR s.still_stands)
),
per_criterion AS (
    SELECT attempt_id, criterion_id,
        CASE WHEN bool_and(passed) = bool_or(passed) THEN bool_and(passed) END AS passed,
        bool_and(passed) <> bool_or(passed) AS disagreement
    FROM voices WHERE counts
    GROUP BY attempt_id, criterion_id
),
minutes AS (
    SELECT attempt_id, sum(minutes ORDER BY packet_id, grader) AS grader_minutes, bool_or(simulated) AS simulated
    FROM (SELECT attempt_id, packet_id, grader, max(minutes) AS minutes, bool_or(simulated) AS simulated
          FROM verdicts WHERE is_current GROUP BY ALL)
    GROUP BY attempt_id
),
criteria AS (
    SELECT a.attempt_id, r.criterion_id, r.importance IN ('critical', 'important') AS required,
        -- an attempt that hands in nothing fails every criterion without being graded
        CASE WHEN a.n_deliverables = 0 THEN false ELSE p.passed END AS passed,
        a.n_deliverables = 0 OR p.criterion_id IS NOT NULL AS answered,
        coalesce(p.disagreement, false) AS disagreement
    FROM attempts a
    JOIN benchmark_jobs b USING (job_id)
    JOIN rubrics r USING (job_id)
    LEFT JOIN per_criterion p ON p.attempt_id = a.attempt_id AND p.criterion_id = r.criterion_id
    WHERE a.is_current
),
summed AS (
    SELECT attempt_id, count(*) AS n_criteria, count(passed) AS n_judged, count(*) FILTER (WHERE passed) AS n_passed,
        count(*) FILTER (WHERE NOT passed) AS n_failed, count(*) FILTER (WHERE NOT answered) AS n_unanswered,
        count(*) FILTER (WHERE required) AS n_required,
        count(*) FILTER (WHERE required AND NOT passed) AS n_required_failed,
        count(*) FILTER (WHERE required AND passed IS NULL) AS n_required_unknown,
        bool_or(disagreement) AS disagreement
    FROM criteria GROUP BY attempt_id
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
