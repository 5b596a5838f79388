-- grain: cohort × category
-- denominator: the jobs of the benchmark; prices over n_priced of them, durations over n_timed
SELECT cohort, coalesce(category, 'unknown') AS category, count(*) AS n_jobs, count(price_usd) AS n_priced,
    min(price_usd) AS price_min, quantile_cont(price_usd, 0.25) AS price_p25, median(price_usd) AS price_median,
    quantile_cont(price_usd, 0.75) AS price_p75, max(price_usd) AS price_max,
    share(count(*) FILTER (WHERE price_usd BETWEEN 10 AND 200), count(price_usd)) AS share_10_200,
    count(completed_at - started_at) AS n_timed,
    min(epoch(completed_at - started_at)) / 3600 AS hours_min,
    median(epoch(completed_at - started_at)) / 3600 AS hours_median,
    max(epoch(completed_at - started_at)) / 3600 AS hours_max,
    min(n_criteria) AS criteria_min, avg(n_criteria) AS criteria_mean, max(n_criteria) AS criteria_max,
    bool_or(simulated) AS simulated
FROM benchmark_jobs GROUP BY ALL
