-- grain: cohort × category, and '(all)' of either
-- denominator: the jobs of the benchmark; prices over n_priced of them, durations over n_timed
WITH jobs AS (
    SELECT cohort, coalesce(category, 'unknown') AS category, price_usd, n_criteria, simulated,
        coalesce('client ' || client_id, 'job ' || job_id) AS client, epoch(completed_at - started_at) / 3600 AS hours
    FROM benchmark_jobs
)
SELECT coalesce(cohort, '(all)') AS cohort, coalesce(category, '(all)') AS category, count(*) AS n_jobs,
    count(DISTINCT client) AS n_clients, count(price_usd) AS n_priced,
    min(price_usd) AS price_min, quantile_cont(price_usd, 0.1) AS price_p10, quantile_cont(price_usd, 0.25) AS price_p25,
    median(price_usd) AS price_median, quantile_cont(price_usd, 0.75) AS price_p75,
    quantile_cont(price_usd, 0.9) AS price_p90, max(price_usd) AS price_max,
    share(count(*) FILTER (WHERE price_usd BETWEEN 10 AND 200), count(price_usd)) AS share_10_200,
    count(hours) AS n_timed, min(hours) AS hours_min, median(hours) AS hours_median, max(hours) AS hours_max,
    min(n_criteria) AS criteria_min, avg(n_criteria) AS criteria_mean, max(n_criteria) AS criteria_max,
    bool_or(simulated) AS simulated
FROM jobs
GROUP BY GROUPING SETS ((cohort, category), (cohort), (category), ())
HAVING count(*) > 0
