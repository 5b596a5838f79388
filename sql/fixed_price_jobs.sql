-- grain: job
-- rule: the job has one agreed price; an hourly job has none to earn
SELECT *,
    CASE WHEN job_type IS NULL THEN 'unknown_job_type'
         WHEN NOT list_contains($job_types, job_type) THEN 'not_fixed_price' END AS code,
    coalesce(job_type, 'job type unknown') AS observed,
    array_to_string($job_types, ' or ') AS threshold
FROM job_posts
