-- grain: job
-- rule: one delivery to judge, at the price that was agreed at first; the first fact that is unknown or wrong decides
SELECT *,
    CASE WHEN milestone_count IS NULL THEN 'unknown_milestones'
         WHEN milestone_count > $max_milestones THEN 'several_milestones'
         -- a contract has at least one: fewer stand for a number that nobody wrote down
         WHEN milestone_count < 1 THEN 'unknown_milestones'
         WHEN NOT $allow_price_change AND price_changed IS NULL THEN 'unknown_price_change'
         WHEN NOT $allow_price_change AND price_changed THEN 'price_changed' END AS code,
    concat_ws(', ', coalesce(counted(milestone_count, 'milestone'), 'milestones unknown'),
        CASE WHEN price_changed THEN 'price changed' WHEN price_changed IS NULL THEN 'price change unknown' END) AS observed,
    'at most ' || counted($max_milestones, 'milestone') ||
        CASE WHEN $allow_price_change THEN '' ELSE ', price unchanged' END AS threshold
FROM completed_jobs
