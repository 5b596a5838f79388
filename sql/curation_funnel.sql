-- grain: rule
-- inputs: each rule's own input and output table, and the rejections; that they agree is checked, not assumed
-- alone: what a rule would turn away of all posts of the month, if it were the only one; null for the rules that judge
--        among jobs rather than a post
WITH chain(position, rule, n_in, n_kept) AS (
    SELECT 1, 'fixed_price_jobs', (SELECT count(*) FROM job_posts), (SELECT count(*) FROM fixed_price_jobs)
    UNION ALL SELECT 2, 'completed_jobs', (SELECT count(*) FROM fixed_price_jobs), (SELECT count(*) FROM completed_jobs)
    UNION ALL SELECT 3, 'single_milestone_jobs', (SELECT count(*) FROM completed_jobs), (SELECT count(*) FROM single_milestone_jobs)
    UNION ALL SELECT 4, 'in_scope_jobs', (SELECT count(*) FROM single_milestone_jobs), (SELECT count(*) FROM in_scope_jobs)
    UNION ALL SELECT 5, 'pii_free_jobs', (SELECT count(*) FROM in_scope_jobs), (SELECT count(*) FROM pii_free_jobs)
    UNION ALL SELECT 6, 'curated_jobs', (SELECT count(*) FROM pii_free_jobs), (SELECT count(*) FROM curated_jobs)
    UNION ALL SELECT 7, 'selected_jobs', (SELECT count(*) FROM curated_jobs), (SELECT count(*) FROM selected_jobs)
    UNION ALL SELECT 8, 'benchmark_jobs', (SELECT count(*) FROM selected_jobs), (SELECT count(*) FROM benchmark_jobs)
),
turned_away AS (
    SELECT rule,
           count(*) FILTER (WHERE NOT starts_with(code, 'unknown_')) AS n_rejected,
           count(*) FILTER (WHERE starts_with(code, 'unknown_')) AS n_unknown
    FROM rejected_jobs GROUP BY rule
),
by_itself AS (
    SELECT rule, sum(n_alone)::BIGINT AS n_alone FROM funnel_by_category GROUP BY rule
)
SELECT $cohort AS cohort, c.position, c.rule, c.n_in, c.n_kept,
       coalesce(t.n_rejected, 0) AS n_rejected, coalesce(t.n_unknown, 0) AS n_unknown,
       CASE WHEN c.rule NOT IN ('selected_jobs', 'benchmark_jobs') THEN coalesce(b.n_alone, 0) END AS n_alone,
       $rule_version AS rule_version,
       coalesce((SELECT bool_or(simulated) FROM job_posts), false) AS simulated
FROM chain c LEFT JOIN turned_away t USING (rule) LEFT JOIN by_itself b USING (rule)
