-- What a completed job costs with the agent alone, with an expert's feedback (a human doing the rest), and by a human.
SELECT model, round, n_graded, n_completed, alone_per_completed_usd, human_ai_fallback_usd, human_ai_fallback_lo,
    human_ai_fallback_hi, price_mean_usd, grader_usd_per_hour, value_per_price, simulated
FROM economics WHERE "window" = 'all' AND rule = 'all_criteria' AND round LIKE 'feedback%'
ORDER BY round, model
