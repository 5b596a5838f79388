-- grain: attempt (the current one of each job, model, round and sample)
-- inputs: current verdicts on criteria as they stand today; adjudicators' verdicts, where there are any, override graders'
-- unknown: a criterion without a verdict, or on which graders disagree, stays unknown: it is never a pass or a fail
-- method: a set of criteria is a row of bits, one for each criterion of the rubric, so that verdicts are grouped once and by attempt: grouping by criterion takes several times as long
WITH sizes AS (
    SELECT job_id, count(*) AS n_criteria, count(*) FILTER (WHERE importance IN ('critical', 'important')) AS n_required,
        repeat('0', count(*)::INTEGER)::BIT AS none
    FROM rubrics GROUP BY job_id
),
criteria AS (
    SELECT r.job_id, r.criterion_id, r.rubric_version, r.importance IN ('critical', 'important') AS required,
        set_bit(z.none, (row_number() OVER (PARTITION BY r.job_id ORDER BY r.criterion_id) - 1)::INTEGER, 1) AS bit
    FROM rubrics r JOIN sizes z USING (job_id)
),
standing AS (
    SELECT job_id, criterion_id, rubric_version, bit FROM criteria
    UNION
    SELECT s.job_id, s.criterion_id, s.rubric_version, c.bit
    FROM standing_criteria s JOIN criteria c ON c.job_id = s.job_id AND c.criterion_id = s.criterion_id
    WHERE s.still_stands
),
required AS (
    SELECT job_id, bit_or(bit) AS required FROM criteria WHERE required GROUP BY job_id
),
-- what one grader says of one attempt; verdicts that are stale count for the time that they took
said AS (
    SELECT v.attempt_id, v.packet_id, v.grader, max(v.minutes) AS minutes, bool_or(v.simulated) AS simulated,
        bit_or(s.bit) AS answered,
        bit_or(s.bit) FILTER (WHERE v.passed) AS passed, bit_or(s.bit) FILTER (WHERE NOT v.passed) AS failed,
        bit_or(s.bit) FILTER (WHERE v.passed AND v.grader_role = 'adjudicator') AS ruled_passed,
        bit_or(s.bit) FILTER (WHERE NOT v.passed AND v.grader_role = 'adjudicator') AS ruled_failed
    FROM verdicts v
    LEFT JOIN standing s
        ON s.job_id = v.job_id AND s.criterion_id = v.criterion_id AND s.rubric_version = v.rubric_version
    WHERE v.is_current
    GROUP BY v.attempt_id, v.packet_id, v.grader
),
heard AS (
    SELECT attempt_id, sum(minutes) AS minutes, count(minutes) AS n_minutes, bool_or(simulated) AS simulated,
        bit_or(answered) AS answered, bit_or(passed) AS passed, bit_or(failed) AS failed,
        bit_or(ruled_passed) AS ruled_passed, bit_or(ruled_failed) AS ruled_failed
    FROM said GROUP BY attempt_id
),
-- the sum of three floats and more depends on their order; sorting for each attempt would take long
minutes_of_many AS (
    SELECT attempt_id, sum(minutes ORDER BY packet_id, grader) AS minutes
    FROM said SEMI JOIN (SELECT attempt_id FROM heard WHERE n_minutes > 2) USING (attempt_id)
    GROUP BY attempt_id
),
judged AS (
    SELECT a.attempt_id, a.cohort, a.model, a.round, a.job_id, coalesce(a.sample, 1) AS sample, a.status, a.cost_usd,
        -- an attempt that hands in nothing fails every criterion without being graded
        a.n_deliverables = 0 AS empty,
        z.n_criteria, z.n_required, coalesce(q.required, z.none) AS required,
        coalesce(h.answered, z.none) AS answered,
        coalesce(h.ruled_passed, z.none) AS decided_passed, coalesce(h.ruled_failed, z.none) AS decided_failed,
        -- what an adjudicator says of a criterion replaces what graders said of it
        decided_passed | (coalesce(h.passed, z.none) & ~(decided_passed | decided_failed)) AS passed,
        decided_failed | (coalesce(h.failed, z.none) & ~(decided_passed | decided_failed)) AS failed,
        coalesce(m.minutes, h.minutes) AS grader_minutes, a.simulated OR coalesce(h.simulated, false) AS simulated
    FROM attempts a
    JOIN sizes z USING (job_id)
    LEFT JOIN required q USING (job_id)
    LEFT JOIN heard h USING (attempt_id)
    LEFT JOIN minutes_of_many m USING (attempt_id)
    WHERE a.is_current
),
summed AS (
    SELECT * EXCLUDE (passed, failed),
        CASE WHEN empty THEN n_criteria ELSE bit_count(xor(passed, failed)) END AS n_judged,
        CASE WHEN empty THEN 0 ELSE bit_count(passed & ~failed) END AS n_passed,
        CASE WHEN empty THEN n_criteria ELSE bit_count(failed & ~passed) END AS n_failed,
        CASE WHEN empty THEN 0 ELSE n_criteria - bit_count(answered) END AS n_unanswered,
        CASE WHEN empty THEN n_required ELSE bit_count(failed & ~passed & required) END AS n_required_failed,
        CASE WHEN empty THEN 0 ELSE n_required - bit_count(xor(passed, failed) & required) END AS n_required_unknown,
        bit_count(passed & failed) > 0 AS disagreement
    FROM judged
)
SELECT s.attempt_id, s.cohort, s.model, s.round, s.job_id, s.sample, b.category, s.n_criteria, s.n_judged, s.n_passed,
    CASE WHEN s.status = 'infra' OR s.n_unanswered > 0 THEN NULL
         WHEN s.n_failed > 0 THEN false
         WHEN s.n_judged = s.n_criteria THEN true END AS all_criteria,
    CASE WHEN s.status = 'infra' OR s.n_unanswered > 0 THEN NULL
         -- in a rubric that marks none as required, every criterion is
         WHEN s.n_required = 0 AND s.n_failed > 0 OR s.n_required_failed > 0 THEN false
         WHEN s.n_required = 0 AND s.n_judged < s.n_criteria THEN NULL
         WHEN s.n_required_unknown = 0 THEN true END AS required_criteria,
    CASE WHEN s.status = 'infra' THEN 'infra'
         WHEN s.n_unanswered > 0 OR s.n_judged < s.n_criteria AND s.n_failed = 0 THEN 'pending'
         ELSE 'graded' END AS outcome,
    s.disagreement, s.n_failed = 1 AND s.n_judged = s.n_criteria AS near_miss,
    s.cost_usd, s.grader_minutes, s.simulated OR b.simulated AS simulated
FROM summed s
JOIN benchmark_jobs b USING (job_id)
