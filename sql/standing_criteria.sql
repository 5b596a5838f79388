-- grain: job × criterion × rubric version
-- inputs: every version of a rubric that was ever imported, beside the rubric as it is today
-- still_stands: the criterion is in today's rubric under the same id with the same text and importance, so that verdicts on the older version count; false: it was changed or taken out, and verdicts on it are stale
WITH versions AS (
    SELECT job_id, criterion_id, rubric_version, text, importance, bool_or(simulated) AS simulated
    FROM rubric_exports SEMI JOIN rubrics USING (job_id)  -- those of other months may be many
    GROUP BY job_id, criterion_id, rubric_version, text, importance
)
SELECT $cohort AS cohort, v.job_id, v.criterion_id, v.rubric_version,
    bool_or(r.criterion_id IS NOT NULL) AS still_stands, bool_or(v.simulated) AS simulated
FROM versions v
LEFT JOIN rubrics r ON r.job_id = v.job_id AND r.criterion_id = v.criterion_id AND r.text = v.text
    AND r.importance = v.importance
GROUP BY v.job_id, v.criterion_id, v.rubric_version
