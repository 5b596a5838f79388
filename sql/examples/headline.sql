-- The headline: share of all jobs complete at each round or earlier, every criterion passed, with 95 % intervals.
SELECT model, round, rank, rank_lo, rank_hi, n_completed, n_eligible, rate, rate_lo, rate_hi, bound_lo, bound_hi,
    simulated
FROM leaderboard WHERE "window" = 'all' AND rule = 'all_criteria'
ORDER BY round, rank, model
