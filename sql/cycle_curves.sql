-- grain: window × rule × model × arm × turn: completion after each turn, jobs not tried again being censored
-- denominator: n_at_risk: jobs still open that were tried at this turn and are graded
-- curve: 1 - (1 - h0)(1 - h1)… of the hazards h = n_events / n_at_risk, with Greenwood's variance
WITH arms AS (
    -- an arm is the longest path of rounds of its kind; both begin with the agent alone
    SELECT arm, arg_max(round, turns) AS last_round
    FROM (SELECT arm, round, max(step_position) AS turns FROM round_paths GROUP BY ALL)
    GROUP BY arm
),
turns AS (
    SELECT a.arm, p.step AS round, p.step_position AS turn
    FROM arms a JOIN round_paths p ON p.round = a.last_round
),
hazards AS (
    SELECT w.window, w.rule, w.model, t.arm, t.turn, w.round, w.n_eligible, w.n_retried AS n_at_risk, w.n_rescued AS n_events,
        w.n_eligible - (w.n_completed - w.n_rescued) - w.n_retried AS n_censored, w.n_never_retried, w.simulated
    FROM window_rates w JOIN turns t ON t.round = w.round
    WHERE w.scope = 'all'
),
curves AS (
    SELECT h.window, h.rule, h.model, h.arm, h.turn,
        product(CASE WHEN e.n_at_risk > 0 THEN 1 - e.n_events / e.n_at_risk::DOUBLE ELSE 1 END ORDER BY e.turn) AS open_share,
        -- unknown once jobs were open and none of them was tried and graded
        count(*) FILTER (WHERE e.n_at_risk = 0 AND e.n_censored > 0) = 0 AS known,
        sum(CASE WHEN e.n_at_risk > e.n_events
            THEN e.n_events / (e.n_at_risk::DOUBLE * (e.n_at_risk - e.n_events)) END ORDER BY e.turn) AS greenwood,
        min(e.n_at_risk) FILTER (WHERE e.turn = 0) AS n_first
    FROM hazards h
    JOIN hazards e ON e.window = h.window AND e.rule = h.rule AND e.model = h.model AND e.arm = h.arm AND e.turn <= h.turn
    GROUP BY ALL
),
sized AS (
    SELECT h.*, CASE WHEN c.known THEN 1 - c.open_share END AS curve,
        CASE WHEN c.known THEN c.open_share * sqrt(coalesce(c.greenwood, 0)) END AS curve_se,
        CASE WHEN c.known THEN greenwood_n(c.open_share, c.greenwood, c.n_first) END AS curve_n_eff
    FROM hazards h JOIN curves c USING ("window", rule, model, arm, turn)
)
SELECT "window", rule, model, arm, turn, round, n_eligible, n_at_risk, n_events, n_censored, n_never_retried,
    share(n_events, n_at_risk) AS hazard, wilson_lo(n_events, n_at_risk) AS hazard_lo,
    wilson_hi(n_events, n_at_risk) AS hazard_hi,
    curve, curve_se, wilson_lo(curve * curve_n_eff, curve_n_eff) AS curve_lo,
    wilson_hi(curve * curve_n_eff, curve_n_eff) AS curve_hi, curve_n_eff, simulated
FROM sized
