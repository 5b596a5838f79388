-- grain: job
-- inputs: every row ever imported for the month's jobs
-- newest: by the marketplace's own time of change where the export has one, then by import, then by row
WITH here AS (
    SELECT DISTINCT job_id FROM job_exports WHERE cohort = $cohort
),
newest AS (
    SELECT e.job_id, e.source_sha256, e.source, e.source_row
    FROM job_exports e SEMI JOIN here ON e.job_id = here.job_id
    QUALIFY row_number() OVER (
        PARTITION BY e.job_id
        ORDER BY e.updated_at DESC NULLS LAST, e.imported_at DESC, e.source_sha256, e.source, e.source_row DESC
    ) = 1
)
SELECT e.* EXCLUDE (extra)
FROM job_exports e
JOIN newest USING (job_id, source_sha256, source, source_row)
WHERE e.cohort = $cohort
