-- grain: job
-- rule: one delivery to judge, at the price that was agreed at first
SELECT *,
    CASE WHEN milestone_count IS NULL THEN 'unknown_milestones'
         WHEN milestone_count > $max_milestones THEN 'several_milestones'
         WHEN milestone_count < 1 THEN 'unknown_milestones'
         WHEN NOT $allow_price_change AND price_changed IS NULL THEN 'unknown_price_change'
         WHEN NOT $allow_price_change AND price_changed THEN 'price_changed' END AS code,
    concat_ws(', ', coalesce(milestone_count || ' milestone(s)', 'milestones unknown'),
        CASE WHEN price_changed THEN 'price changed' WHEN price_changed IS NULL THEN 'price change unknown' END) AS observed,
    'at most ' || $max_milestones || ' milestone(s)' ||
        CASE WHEN $allow_price_change THEN '' ELSE ', price unchanged' END AS threshold
FROM completed_jobs
