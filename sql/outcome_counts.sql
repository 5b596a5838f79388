-- grain: cohort × model × round × rule × category × price band × after cutoff: the finest counts, of which all others are sums
-- denominator: every job of the benchmark in the cell (n_eligible)
SELECT cohort, model, round, rule, category, price_band, after_cutoff,
    count(*) AS n_eligible,
    count(*) FILTER (WHERE state <> 'unattempted') AS n_attempted,
    count(*) FILTER (WHERE state = 'unattempted') AS n_unattempted,
    count(*) FILTER (WHERE state = 'pending') AS n_pending,
    count(*) FILTER (WHERE state = 'infra') AS n_infra,
    count(*) FILTER (WHERE state IN ('complete', 'failed')) AS n_graded,
    count(*) FILTER (WHERE state = 'complete') AS n_completed,
    count(*) FILTER (WHERE state IN ('complete', 'failed') AND NOT complete_before) AS n_retried,
    count(*) FILTER (WHERE state = 'complete' AND NOT complete_before) AS n_rescued,
    count(*) FILTER (WHERE failed_before) AS n_failed_before,
    count(*) FILTER (WHERE failed_before AND state = 'complete') AS n_failed_rescued,
    count(*) FILTER (WHERE failed_before AND state = 'unattempted') AS n_never_retried,
    count(price_usd) AS n_priced,
    -- sums of decimals, which are the same in any order
    coalesce(sum(price_usd::DECIMAL(18, 4)), 0)::DOUBLE AS usd_eligible,
    coalesce(sum(price_usd::DECIMAL(18, 4)) FILTER (WHERE state = 'complete'), 0)::DOUBLE AS usd_completed,
    bool_or(simulated) AS simulated
FROM job_states GROUP BY ALL
