-- grain: rule × category
-- inputs: posts, each rule's table and the rejections; rules_alone holds every rule with every category of the month
-- alone: what a rule would turn away of all posts of the month, if it were the only one
WITH entered AS (
    SELECT coalesce(category, 'unknown') AS category, count(*) AS n_posts, bool_or(simulated) AS simulated
    FROM job_posts GROUP BY ALL
),
passed(rule, category) AS (
    SELECT 'fixed_price_jobs', category FROM fixed_price_jobs
    UNION ALL SELECT 'completed_jobs', category FROM completed_jobs
    UNION ALL SELECT 'single_milestone_jobs', category FROM single_milestone_jobs
    UNION ALL SELECT 'in_scope_jobs', category FROM in_scope_jobs
    UNION ALL SELECT 'pii_free_jobs', category FROM pii_free_jobs
    UNION ALL SELECT 'curated_jobs', category FROM curated_jobs
    UNION ALL SELECT 'selected_jobs', category FROM selected_jobs
    UNION ALL SELECT 'benchmark_jobs', category FROM benchmark_jobs
),
stayed AS (
    SELECT rule, coalesce(category, 'unknown') AS category, count(*) AS n_kept FROM passed GROUP BY ALL
),
turned_away AS (
    SELECT r.rule, coalesce(p.category, 'unknown') AS category,
           count(*) FILTER (WHERE NOT starts_with(r.code, 'unknown_')) AS n_rejected,
           count(*) FILTER (WHERE starts_with(r.code, 'unknown_')) AS n_unknown
    FROM rejected_jobs r JOIN job_posts p USING (job_id) GROUP BY ALL
)
SELECT $cohort AS cohort, a.position, a.rule, a.category,
       CASE WHEN a.position = 1 THEN e.n_posts
            ELSE coalesce(lag(s.n_kept) OVER (PARTITION BY a.category ORDER BY a.position), 0) END AS n_in,
       coalesce(s.n_kept, 0) AS n_kept, coalesce(t.n_rejected, 0) AS n_rejected, coalesce(t.n_unknown, 0) AS n_unknown,
       a.n_alone, $rule_version AS rule_version, e.simulated
FROM rules_alone a
JOIN entered e USING (category)
LEFT JOIN stayed s ON s.rule = a.rule AND s.category = a.category
LEFT JOIN turned_away t ON t.rule = a.rule AND t.category = a.category
