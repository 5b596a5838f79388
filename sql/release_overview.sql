-- grain: freeze × category, and '(all)' categories
-- denominator: the jobs of the freeze, as they were frozen; prices over n_priced of them, durations over n_timed
WITH sizes AS (
    SELECT job_id, rubric_version, count(DISTINCT criterion_id) AS n_criteria FROM rubric_exports GROUP BY ALL
),
jobs AS (
    SELECT f.freeze_name, coalesce(f.category, 'unknown') AS category, f.price_usd, f.simulated, s.n_criteria,
        coalesce('client ' || p.client_id, 'job ' || f.job_id) AS client, epoch(p.completed_at - p.started_at) / 3600 AS hours
    FROM job_freezes f
    LEFT JOIN job_posts p ON p.job_id = f.job_id
    LEFT JOIN sizes s ON s.job_id = f.job_id AND s.rubric_version = f.rubric_version
)
SELECT freeze_name, coalesce(category, '(all)') AS category, count(*) AS n_jobs, count(DISTINCT client) AS n_clients,
    count(price_usd) AS n_priced,
    min(price_usd) AS price_min, quantile_cont(price_usd, 0.1) AS price_p10, quantile_cont(price_usd, 0.25) AS price_p25,
    median(price_usd) AS price_median, quantile_cont(price_usd, 0.75) AS price_p75,
    quantile_cont(price_usd, 0.9) AS price_p90, max(price_usd) AS price_max,
    share(count(*) FILTER (WHERE price_usd BETWEEN 10 AND 200), count(price_usd)) AS share_10_200,
    count(hours) AS n_timed, min(hours) AS hours_min, median(hours) AS hours_median, max(hours) AS hours_max,
    min(n_criteria) AS criteria_min, avg(n_criteria) AS criteria_mean, max(n_criteria) AS criteria_max,
    bool_or(simulated) AS simulated
FROM jobs
GROUP BY GROUPING SETS ((freeze_name, category), (freeze_name))
