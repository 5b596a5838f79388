-- grain: attempt (current ones, and those whose work a current one went on from)
-- inputs: the verdicts that count for attempt_outcomes, criterion by criterion
-- unknown: a criterion in neither list has no verdict, or graders disagree on it, or no fair attempt was possible (infra)
WITH wanted AS (
    SELECT * FROM attempts
    WHERE (is_current OR (cohort, model, attempt_id) IN (SELECT (cohort, model, previous_attempt_id) FROM attempts WHERE is_current))
        AND coalesce(sample, 1) = 1  -- of several samples the first, as in job_states
),
voices AS (
    SELECT v.attempt_id, v.criterion_id, v.passed, v.simulated,
        v.grader_role = 'adjudicator' OR count(v.passed) FILTER (WHERE v.grader_role = 'adjudicator')
            OVER (PARTITION BY v.attempt_id, v.criterion_id) = 0 AS counts
    FROM verdicts v
    SEMI JOIN wanted w ON w.attempt_id = v.attempt_id
    JOIN rubrics r ON r.job_id = v.job_id AND r.criterion_id = v.criterion_id
    LEFT JOIN standing_criteria s
        ON s.job_id = v.job_id AND s.criterion_id = v.criterion_id AND s.rubric_version = v.rubric_version
    WHERE v.is_current AND (v.rubric_version = r.rubric_version OR s.still_stands)
),
per_criterion AS (
    SELECT attempt_id, criterion_id, bool_or(simulated) AS simulated,
        CASE WHEN bool_and(passed) = bool_or(passed) THEN bool_and(passed) END AS passed
    FROM voices WHERE counts
    GROUP BY attempt_id, criterion_id
),
told AS (
    SELECT attempt_id, bool_or(simulated) AS simulated,
        list(criterion_id ORDER BY criterion_id) FILTER (WHERE passed) AS passes,
        list(criterion_id ORDER BY criterion_id) FILTER (WHERE NOT passed) AS fails
    FROM per_criterion GROUP BY attempt_id
),
sizes AS (
    SELECT job_id, count(*) AS n_criteria, list(criterion_id ORDER BY criterion_id) AS criteria
    FROM rubrics GROUP BY job_id
)
SELECT a.attempt_id, a.cohort, a.model, a.round, a.job_id, b.client_id, a.previous_attempt_id, a.is_current, z.n_criteria,
    CASE WHEN a.status = 'infra' OR a.n_deliverables = 0 THEN [] ELSE coalesce(t.passes, []) END AS passes,
    -- an attempt that hands in nothing fails every criterion without being graded
    CASE WHEN a.status = 'infra' THEN [] WHEN a.n_deliverables = 0 THEN z.criteria ELSE coalesce(t.fails, []) END AS fails,
    a.simulated OR b.simulated OR coalesce(t.simulated, false) AS simulated
FROM wanted a
JOIN benchmark_jobs b ON b.job_id = a.job_id
JOIN sizes z ON z.job_id = a.job_id
LEFT JOIN told t ON t.attempt_id = a.attempt_id
