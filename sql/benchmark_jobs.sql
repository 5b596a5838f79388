-- grain: job
-- rule: an expert has written a rubric of the agreed size
WITH sizes AS (
    SELECT job_id, any_value(rubric_version) AS rubric_version, count(*) AS n_criteria FROM rubrics GROUP BY job_id
)
SELECT j.*, s.rubric_version, coalesce(s.n_criteria, 0) AS n_criteria,
    CASE WHEN s.n_criteria IS NULL THEN 'no_rubric'
         WHEN s.n_criteria < $min_criteria THEN 'too_few_criteria'
         WHEN s.n_criteria > $max_criteria THEN 'too_many_criteria' END AS code,
    coalesce(s.n_criteria || ' criteria', 'no rubric') AS observed,
    $min_criteria || ' to ' || $max_criteria || ' criteria' AS threshold
FROM curated_jobs j SEMI JOIN selected_jobs USING (job_id) LEFT JOIN sizes s USING (job_id)
