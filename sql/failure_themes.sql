-- grain: model × round × theme, and '(all)' models together
-- denominator: share_of_criteria over the criteria judged (n_all_judged), share_of_failures over those failed (n_all_failed), fail_rate over those of the theme that are judged (n_judged)
-- standing: after a round the newest attempt on its path counts for each job, so that before and after are over the same jobs
-- intervals: criteria of one client's jobs are alike, so the client is the unit; a job whose client is unknown counts as one
WITH rounds AS (
    SELECT DISTINCT round, step_position AS turn, arm FROM round_paths WHERE step = round
),
standing AS (
    SELECT p.round, o.model, o.job_id, o.client_id, o.passes, o.fails, o.simulated
    FROM criterion_outcomes o
    JOIN round_paths p ON p.step = o.round
    WHERE o.is_current
    QUALIFY row_number() OVER (PARTITION BY p.round, o.model, o.job_id ORDER BY p.step_position DESC, o.attempt_id) = 1
),
told AS (
    SELECT s.round, s.model, s.job_id, coalesce('client ' || s.client_id, 'job ' || s.job_id) AS client, t.theme_id,
        count(*) AS n_criteria, count(*) FILTER (WHERE list_contains(s.fails, t.criterion_id)) AS n_failed,
        count(*) FILTER (WHERE list_contains(s.passes, t.criterion_id) OR list_contains(s.fails, t.criterion_id)) AS n_judged,
        bool_or(s.simulated OR t.simulated) AS simulated
    FROM standing s
    JOIN criterion_themes t ON t.job_id = s.job_id
    GROUP BY ALL
),
by_client AS (
    SELECT coalesce(model, '(all)') AS model, round, theme_id, client, sum(n_criteria)::BIGINT AS n_criteria,
        sum(n_failed)::BIGINT AS n_failed, sum(n_judged)::BIGINT AS n_judged, bool_or(simulated) AS simulated
    FROM told
    GROUP BY GROUPING SETS ((model, round, theme_id, client), (round, theme_id, client))
),
jobs AS (
    SELECT coalesce(model, '(all)') AS model, round, theme_id, count(DISTINCT job_id) AS n_jobs
    FROM told
    GROUP BY GROUPING SETS ((model, round, theme_id), (round, theme_id))
),
client_totals AS (
    SELECT model, round, client, sum(n_failed)::BIGINT AS n_failed, sum(n_judged)::BIGINT AS n_judged
    FROM by_client
    GROUP BY model, round, client
),
totals AS (
    SELECT model, round, sum(n_failed)::BIGINT AS n_all_failed, sum(n_judged)::BIGINT AS n_all_judged,
        count(*) FILTER (WHERE n_failed > 0) AS failed_c, count(*) FILTER (WHERE n_judged > 0) AS judged_c,
        sum(n_failed * n_failed)::DOUBLE AS failed_jj, sum(n_judged * n_judged)::DOUBLE AS judged_jj
    FROM client_totals
    GROUP BY model, round
),
sums AS (
    SELECT b.model, b.round, b.theme_id, count(*) AS n_clients, sum(b.n_criteria)::BIGINT AS n_criteria,
        sum(b.n_failed)::BIGINT AS n_failed, sum(b.n_judged)::BIGINT AS n_judged, bool_or(b.simulated) AS simulated,
        count(*) FILTER (WHERE b.n_judged > 0) AS rate_c, sum(b.n_failed * b.n_failed)::DOUBLE AS failed_dd,
        sum(b.n_judged * b.n_judged)::DOUBLE AS judged_dd, sum(b.n_failed * b.n_judged)::DOUBLE AS rate_dj,
        sum(b.n_failed * c.n_failed)::DOUBLE AS failed_dj, sum(b.n_judged * c.n_judged)::DOUBLE AS judged_dj
    FROM by_client b
    JOIN client_totals c ON c.model = b.model AND c.round = b.round AND c.client = b.client
    GROUP BY b.model, b.round, b.theme_id
),
-- the three shares of each row, one under the other
measured AS (
    SELECT s.model, s.round, s.theme_id, k.kind,
        CASE k.kind WHEN 'criteria' THEN s.n_judged ELSE s.n_failed END AS x,
        CASE k.kind WHEN 'criteria' THEN t.n_all_judged WHEN 'failures' THEN t.n_all_failed ELSE s.n_judged END AS n,
        CASE k.kind WHEN 'criteria' THEN t.judged_c WHEN 'failures' THEN t.failed_c ELSE s.rate_c END AS c,
        CASE k.kind WHEN 'criteria' THEN s.judged_dd ELSE s.failed_dd END AS dd,
        CASE k.kind WHEN 'criteria' THEN s.judged_dj WHEN 'failures' THEN s.failed_dj ELSE s.rate_dj END AS dj,
        CASE k.kind WHEN 'criteria' THEN t.judged_jj WHEN 'failures' THEN t.failed_jj ELSE s.judged_dd END AS jj
    FROM sums s
    JOIN totals t ON t.model = s.model AND t.round = s.round
    CROSS JOIN (VALUES ('criteria'), ('failures'), ('rate')) k(kind)
),
sized AS (
    SELECT model, round, theme_id, kind, x, n, effective_n(c, n, x, dd, dj, jj) AS n_eff FROM measured WHERE n > 0
),
ends AS (
    SELECT model, round, theme_id, kind, x::DOUBLE / n AS told, wilson_lo(x / n::DOUBLE * n_eff, n_eff) AS lo,
        wilson_hi(x / n::DOUBLE * n_eff, n_eff) AS hi
    FROM sized
),
intervals AS (
    SELECT model, round, theme_id,
        max(lo) FILTER (WHERE kind = 'criteria') AS criteria_lo, max(hi) FILTER (WHERE kind = 'criteria') AS criteria_hi,
        max(lo) FILTER (WHERE kind = 'failures') AS failures_lo, max(hi) FILTER (WHERE kind = 'failures') AS failures_hi,
        max(lo) FILTER (WHERE kind = 'rate') AS rate_lo, max(hi) FILTER (WHERE kind = 'rate') AS rate_hi
    FROM ends
    GROUP BY model, round, theme_id
),
themes AS (
    SELECT theme_id, max(theme) AS theme, max(example_criterion) AS example_criterion, bool_or(provisional) AS provisional
    FROM criterion_themes
    GROUP BY theme_id
)
SELECT s.model, s.round, r.turn, r.arm, s.theme_id, h.theme, h.example_criterion, h.provisional, j.n_jobs, s.n_clients,
    s.n_criteria, s.n_judged, s.n_failed, s.n_criteria - s.n_judged AS n_unjudged, t.n_all_judged, t.n_all_failed,
    share(s.n_judged, t.n_all_judged) AS share_of_criteria,
    i.criteria_lo AS share_of_criteria_lo, i.criteria_hi AS share_of_criteria_hi,
    share(s.n_failed, t.n_all_failed) AS share_of_failures,
    i.failures_lo AS share_of_failures_lo, i.failures_hi AS share_of_failures_hi,
    share(s.n_failed, s.n_judged) AS fail_rate, i.rate_lo AS fail_rate_lo, i.rate_hi AS fail_rate_hi, s.simulated
FROM sums s
JOIN totals t ON t.model = s.model AND t.round = s.round
JOIN rounds r ON r.round = s.round
JOIN themes h ON h.theme_id = s.theme_id
JOIN jobs j ON j.model = s.model AND j.round = s.round AND j.theme_id = s.theme_id
LEFT JOIN intervals i ON i.model = s.model AND i.round = s.round AND i.theme_id = s.theme_id
