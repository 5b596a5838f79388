-- Agent alone and after the first feedback, by category: jobs, rates and their intervals side by side.
SELECT alone.category, alone.model, alone.n_eligible, alone.n_completed AS n_alone, alone.rate AS rate_alone,
    alone.rate_lo AS alone_lo, alone.rate_hi AS alone_hi, after.n_completed AS n_after, after.rate AS rate_after,
    after.rate_lo AS after_lo, after.rate_hi AS after_hi, alone.simulated
FROM category_rates alone
LEFT JOIN category_rates after
    ON after.category = alone.category AND after.model = alone.model AND after."window" = alone."window"
    AND after.rule = alone.rule AND after.round = 'feedback_1'
WHERE alone."window" = 'all' AND alone.rule = 'all_criteria' AND alone.round = 'agent_alone'
ORDER BY alone.n_eligible DESC, alone.category, alone.model
