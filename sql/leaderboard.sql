-- grain: window × rule × round × model
-- denominator: every job of the benchmark in the window; all counts are sums of outcome_counts
-- ranks: by rate; their limits and ties are those of the tested pairs in model_comparisons (Holm, 5 %)
WITH rated AS (
    SELECT * EXCLUDE (scope, category) FROM window_rates WHERE scope = 'all'
),
newest AS (
    SELECT cohort, row_number() OVER (ORDER BY cohort DESC) <= 12 AS is_recent
    FROM (SELECT DISTINCT cohort FROM outcome_counts)
),
after_cutoff AS (
    SELECT DISTINCT model, job_id FROM job_states WHERE after_cutoff
),
-- what attempts of a round cost, in whole numbers of 1e-12 USD, whose sums are the same in any order
bills AS (
    SELECT a.model, a.round AS step, n.is_recent, c.job_id IS NOT NULL AS is_after, count(*) AS n_attempts,
        count(a.cost_usd) AS n_priced, sum(round(a.cost_usd * 1e12)::HUGEINT) AS cost
    FROM attempts a
    LEFT JOIN newest n ON n.cohort = a.cohort
    LEFT JOIN after_cutoff c ON c.model = a.model AND c.job_id = a.job_id
    GROUP BY ALL
),
spent AS (
    SELECT w.name AS "window", b.model, p.round, sum(b.n_attempts)::BIGINT AS n_attempts,
        -- one unknown cost makes the sum unknown: a part of it would pass for the whole
        CASE WHEN sum(b.n_attempts) = sum(b.n_priced) THEN sum(b.cost)::DOUBLE / 1e12 END AS cost_usd
    FROM bills b
    JOIN round_paths p ON b.step = p.step
    JOIN (VALUES ('all'), ('last_12'), ('post_cutoff')) w(name)
        ON w.name = 'all' OR w.name = 'last_12' AND b.is_recent OR w.name = 'post_cutoff' AND b.is_after
    GROUP BY ALL
),
placed AS (
    SELECT "window", rule, round, model, count(*) OVER contest AS models,
        rank() OVER (contest ORDER BY rate DESC) AS rank,
        row_number() OVER (contest ORDER BY rate DESC, model) AS place
    FROM rated WHERE rate IS NOT NULL
    WINDOW contest AS (PARTITION BY "window", rule, round)
),
-- pairs that differ significantly, seen from both sides
differing AS (
    SELECT "window", rule, round, model_a AS model, model_b AS other, difference < 0 AS other_better
    FROM model_comparisons WHERE significant
    UNION ALL
    SELECT "window", rule, round, model_b, model_a, difference > 0
    FROM model_comparisons WHERE significant
),
surpassed AS (
    SELECT "window", rule, round, model, count(*) FILTER (WHERE other_better) AS better,
        count(*) FILTER (WHERE NOT other_better) AS worse
    FROM differing GROUP BY ALL
),
-- the best model not yet in a group heads one; the models below it join until one differs from the head
following AS (
    SELECT h.window, h.rule, h.round, h.place, min(o.place) AS next_head
    FROM placed h
    JOIN differing d ON d.window = h.window AND d.rule = h.rule AND d.round = h.round AND d.model = h.model
    JOIN placed o ON o.window = h.window AND o.rule = h.rule AND o.round = h.round AND o.model = d.other
    WHERE o.place > h.place
    GROUP BY ALL
),
heads AS (
    WITH RECURSIVE found AS (
        SELECT "window", rule, round, place FROM placed WHERE place = 1
        UNION ALL
        SELECT f.window, f.rule, f.round, n.next_head
        FROM found f
        JOIN following n ON n.window = f.window AND n.rule = f.rule AND n.round = f.round AND n.place = f.place
    )
    SELECT * FROM found
),
grouped AS (
    SELECT p.window, p.rule, p.round, p.model, count(*) AS tie_group
    FROM placed p
    JOIN heads h ON h.window = p.window AND h.rule = p.rule AND h.round = p.round AND h.place <= p.place
    GROUP BY ALL
)
SELECT r.*, coalesce(s.n_attempts, 0) AS n_attempts, s.cost_usd, p.rank,
    1 + CASE WHEN p.rank IS NOT NULL THEN coalesce(u.better, 0) END AS rank_lo,
    p.models - coalesce(u.worse, 0) AS rank_hi, g.tie_group
FROM rated r
LEFT JOIN spent s USING ("window", model, round)
LEFT JOIN placed p USING ("window", rule, round, model)
LEFT JOIN surpassed u USING ("window", rule, round, model)
LEFT JOIN grouped g USING ("window", rule, round, model)
