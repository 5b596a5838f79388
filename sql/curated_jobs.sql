-- grain: job
-- rule: there is a task to attempt, and each content stands once: of posts with the same client, title, text and price
--       the one with the smallest id
WITH ranked AS (
    SELECT job_id, first_value(job_id) OVER (PARTITION BY content_id ORDER BY job_id) AS first_job_id
    FROM pii_free_jobs
)
SELECT p.*,
    CASE WHEN p.title IS NULL AND p.description IS NULL THEN 'no_description'
         WHEN p.client_id IS NOT NULL AND r.first_job_id <> p.job_id THEN 'duplicate_content' END AS code,
    CASE WHEN r.first_job_id <> p.job_id THEN 'same as ' || r.first_job_id END AS observed,
    'a description, each content once' AS threshold
FROM ranked r JOIN job_posts p USING (job_id)
