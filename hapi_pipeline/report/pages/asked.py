"""What several pages ask of the tables."""

ORDER = "max(rate) FILTER (WHERE round = 'agent_alone') OVER (PARTITION BY model) DESC NULLS LAST, model"
"""Models as they did alone, the best first."""
BOARD = f"""
    SELECT model, round, n_completed, n_eligible, n_graded, rate, rate_lo, rate_hi, bound_lo, bound_hi,
        rank, rank_lo, rank_hi, tie_group, n_clients, rate_cl_lo, rate_cl_hi, earn_rate, earn_lo, earn_hi,
        n_attempts, cost_usd, first_cohort, last_cohort, simulated
    FROM leaderboard
    WHERE leaderboard.window = 'all' AND rule = {{rule}}
    ORDER BY {ORDER}, round
    """  # noqa: S608
PAIRS = """
    SELECT round, model_a, model_b, n_common, rate_a, rate_b, n_only_a, n_only_b, difference, diff_lo, diff_hi,
        boot_lo, boot_hi, p_mid, p_holm, significant, mde, simulated
    FROM model_comparisons
    WHERE model_comparisons.window = 'all' AND rule = {rule}
    ORDER BY round, model_a, model_b
    """
