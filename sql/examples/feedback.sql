-- What an expert's first feedback added, and what of it a second try without feedback does not bring.
SELECT model, n_before, n_completed, n_eligible, lift_points, lift_lo, lift_hi, net_points, net_lo, net_hi, n_paired,
    simulated
FROM feedback_lift WHERE "window" = 'all' AND rule = 'all_criteria' AND round = 'feedback_1'
ORDER BY net_points DESC NULLS LAST, model
