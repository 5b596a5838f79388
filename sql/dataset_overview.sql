-- grain: cohort × category
-- denominator: the jobs of the benchmark
SELECT cohort, coalesce(category, 'unknown') AS category, count(*) AS n_jobs,
    min(price_usd) AS price_min, median(price_usd) AS price_median, max(price_usd) AS price_max,
    share(count(*) FILTER (WHERE price_usd BETWEEN 10 AND 200), count(*)) AS share_10_200,
    avg(n_criteria) AS criteria_mean, bool_or(simulated) AS simulated
FROM benchmark_jobs GROUP BY ALL
