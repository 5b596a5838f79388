-- grain: job
-- rule: there is a task to attempt: a title or a description with something in it
SELECT p.*,
    CASE WHEN coalesce(trim(p.title), '') = '' AND coalesce(trim(p.description), '') = '' THEN 'no_description' END AS code,
    concat_ws(', ', CASE WHEN coalesce(trim(p.title), '') = '' THEN 'no title' END,
        CASE WHEN coalesce(trim(p.description), '') = '' THEN 'no description' END) AS observed,
    'a title or a description' AS threshold
FROM pii_free_jobs r JOIN job_posts p USING (job_id)
