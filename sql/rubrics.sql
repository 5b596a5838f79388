-- grain: job × criterion
-- inputs: the newest imported rubric of each job of the month
WITH newest AS (
    SELECT r.job_id, r.source_sha256
    FROM rubric_exports r SEMI JOIN job_posts p ON r.job_id = p.job_id
    QUALIFY row_number() OVER (PARTITION BY r.job_id ORDER BY r.imported_at DESC, r.source_sha256) = 1
)
SELECT $cohort AS cohort, r.job_id, r.rubric_version, r.criterion_id, r.position, r.text, r.importance, r.author,
       r.source_sha256, r.imported_at, r.simulated
FROM rubric_exports r
JOIN newest USING (job_id, source_sha256)
