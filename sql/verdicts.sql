-- grain: attempt × criterion × grader × import
-- current: the newest verdict of a grader on a criterion, however the name was capitalised; older ones stay with their history
SELECT v.* REPLACE (a.cohort AS cohort),
    row_number() OVER (
        PARTITION BY v.attempt_id, v.criterion_id, lower(v.grader), v.grader_role
        ORDER BY coalesce(v.graded_at, v.imported_at) DESC, v.imported_at DESC, v.source_sha256, v.source_row DESC
    ) = 1 AS is_current
FROM verdict_exports v
JOIN attempts a ON a.attempt_id = v.attempt_id
