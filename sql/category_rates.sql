-- grain: window × rule × category × round × model
-- denominator: every job of the benchmark in the window and category; all counts are sums of outcome_counts
SELECT * EXCLUDE (scope) FROM window_rates WHERE scope = 'category'
