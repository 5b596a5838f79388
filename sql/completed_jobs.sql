-- grain: job
-- rule: the work was completed and the client paid for it; the first fact that is unknown or wrong decides
SELECT *,
    CASE WHEN status IS NULL THEN 'unknown_status'
         WHEN NOT list_contains($statuses, status) THEN 'not_completed'
         WHEN completed_at IS NULL THEN 'unknown_completed_at'
         WHEN $require_paid AND paid IS NULL THEN 'unknown_paid'
         WHEN $require_paid AND NOT paid THEN 'not_paid' END AS code,
    concat_ws(', ', coalesce(status, 'status unknown'),
        CASE WHEN paid THEN 'paid' WHEN NOT paid THEN 'not paid' ELSE 'payment unknown' END,
        CASE WHEN completed_at IS NULL THEN 'day of completion unknown' END) AS observed,
    array_to_string($statuses, ' or ') || CASE WHEN $require_paid THEN ', paid' ELSE '' END || ', on a known day' AS threshold
FROM fixed_price_jobs
