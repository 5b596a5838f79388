-- grain: job
-- rule: no personal data in title, description or attachment names; names of persons alone are left to review
WITH found AS (
    SELECT job_id, string_agg(DISTINCT finding_type, ', ' ORDER BY finding_type) AS types
    FROM pii_findings WHERE decision = 'reject'
    GROUP BY job_id
)
SELECT j.*,
    CASE WHEN found.types IS NOT NULL THEN 'personal_data' END AS code,
    found.types AS observed,
    'no personal data' AS threshold
FROM in_scope_jobs j LEFT JOIN found USING (job_id)
