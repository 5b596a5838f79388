-- grain: attempt × grader of the first line (not adjudicators)
-- inputs: current verdicts on criteria that stand, on current attempts at the benchmark's jobs
-- settled: an adjudicator's word, else what two graders or more agree on, else unknown; adjudication happens where graders disagree, so where all are wrong alike it is the wrong word
-- lists: criteria by name only where two graders or more judged the attempt
WITH voices AS (
    SELECT v.attempt_id, v.criterion_id, lower(v.grader) AS known_as, v.grader_role, v.passed, v.minutes, v.simulated,
        v.grader_role = 'adjudicator' AS decides, r.importance IN ('critical', 'important') AS required
    FROM verdicts v
    JOIN attempts a ON a.attempt_id = v.attempt_id AND a.is_current
    SEMI JOIN benchmark_jobs b ON b.job_id = v.job_id
    JOIN rubrics r ON r.job_id = v.job_id AND r.criterion_id = v.criterion_id
    LEFT JOIN standing_criteria s
        ON s.job_id = v.job_id AND s.criterion_id = v.criterion_id AND s.rubric_version = v.rubric_version
    WHERE v.is_current AND (v.rubric_version = r.rubric_version OR s.still_stands)
    -- one person is one voice, however the pseudonym is spelt and in whatever role of the first line
    QUALIFY row_number() OVER (
        PARTITION BY v.attempt_id, v.criterion_id, known_as, decides
        ORDER BY coalesce(v.graded_at, v.imported_at) DESC, v.imported_at DESC, v.verdict_id
    ) = 1
),
rubric_sizes AS (
    SELECT job_id, count(*) AS n_criteria, count(*) FILTER (WHERE importance IN ('critical', 'important')) AS n_required
    FROM rubrics
    GROUP BY job_id
),
decided AS (
    SELECT attempt_id, criterion_id, any_value(required) AS required,
        CASE WHEN count(passed) FILTER (WHERE decides) > 0
             THEN CASE WHEN bool_and(passed) FILTER (WHERE decides) = bool_or(passed) FILTER (WHERE decides)
                       THEN bool_and(passed) FILTER (WHERE decides) END
             WHEN count(passed) > 1 AND bool_and(passed) = bool_or(passed) THEN bool_and(passed) END AS settled
    FROM voices
    GROUP BY attempt_id, criterion_id
),
settled AS (
    SELECT attempt_id,
        list(criterion_id ORDER BY criterion_id) FILTER (WHERE settled) AS passes,
        list(criterion_id ORDER BY criterion_id) FILTER (WHERE NOT settled) AS fails,
        count(*) FILTER (WHERE settled) AS n_passed, count(*) FILTER (WHERE NOT settled) AS n_failed,
        count(*) FILTER (WHERE settled AND required) AS n_required_passed,
        count(*) FILTER (WHERE NOT settled AND required) AS n_required_failed
    FROM decided
    GROUP BY attempt_id
),
said AS (
    SELECT attempt_id, known_as, max(CASE grader_role WHEN 'second' THEN 'second' ELSE 'grader' END) AS grader_role,
        count(*) AS n_answered, count(*) FILTER (WHERE passed) AS n_passed, count(*) FILTER (WHERE NOT passed) AS n_failed,
        count(passed) FILTER (WHERE required) AS n_required_known,
        count(*) FILTER (WHERE required AND NOT passed) AS n_required_failed,
        list(criterion_id ORDER BY criterion_id) FILTER (WHERE passed) AS passes,
        list(criterion_id ORDER BY criterion_id) FILTER (WHERE NOT passed) AS fails,
        max(minutes) AS minutes, bool_or(simulated) AS simulated
    FROM voices
    WHERE NOT decides
    GROUP BY attempt_id, known_as
),
counted AS (
    SELECT *, count(*) OVER (PARTITION BY attempt_id) AS n_graders FROM said
)
SELECT a.attempt_id, a.cohort, a.model, a.round, a.job_id, b.category, c.known_as AS grader, c.grader_role, c.n_graders,
    z.n_criteria, c.n_answered, c.n_passed, c.n_failed,
    CASE WHEN c.n_answered < z.n_criteria THEN NULL
         WHEN c.n_failed > 0 THEN false
         WHEN c.n_passed = z.n_criteria THEN true END AS all_criteria,
    CASE WHEN c.n_answered < z.n_criteria THEN NULL
         WHEN z.n_required = 0 THEN CASE WHEN c.n_failed > 0 THEN false WHEN c.n_passed = z.n_criteria THEN true END
         WHEN c.n_required_failed > 0 THEN false
         WHEN c.n_required_known = z.n_required THEN true END AS required_criteria,
    CASE WHEN c.n_graders = 1 THEN NULL
         WHEN s.n_failed > 0 THEN false
         WHEN s.n_passed = z.n_criteria THEN true END AS settled_all,
    CASE WHEN c.n_graders = 1 THEN NULL
         WHEN z.n_required = 0 THEN CASE WHEN s.n_failed > 0 THEN false WHEN s.n_passed = z.n_criteria THEN true END
         WHEN s.n_required_failed > 0 THEN false
         WHEN s.n_required_passed = z.n_required THEN true END AS settled_required,
    CASE WHEN c.n_graders > 1 THEN coalesce(c.passes, []) END AS passes,
    CASE WHEN c.n_graders > 1 THEN coalesce(c.fails, []) END AS fails,
    CASE WHEN c.n_graders > 1 THEN coalesce(s.passes, []) END AS settled_passes,
    CASE WHEN c.n_graders > 1 THEN coalesce(s.fails, []) END AS settled_fails,
    c.minutes, a.simulated OR b.simulated OR c.simulated AS simulated
FROM counted c
JOIN attempts a ON a.attempt_id = c.attempt_id
JOIN benchmark_jobs b ON b.job_id = a.job_id
JOIN rubric_sizes z ON z.job_id = a.job_id
JOIN settled s ON s.attempt_id = c.attempt_id
