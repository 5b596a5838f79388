-- grain: window × rule × round × model × scope × category: rates of all jobs (scope all) and of each category
-- denominator: every job of the benchmark in the window (n_eligible); all counts are sums of outcome_counts
-- spread: jobs of one client are taken to be alike, so errors are summed by client before they are squared
WITH newest AS (
    SELECT cohort, row_number() OVER (ORDER BY cohort DESC) <= 12 AS is_recent
    FROM (SELECT DISTINCT cohort FROM outcome_counts)
),
windows AS (
    SELECT * FROM (VALUES ('all'), ('last_12'), ('post_cutoff')) w(name)
),
scopes AS (
    SELECT * FROM (VALUES ('all'), ('category')) s(scope)
),
cells AS (
    SELECT w.name AS "window", s.scope, CASE WHEN s.scope = 'all' THEN '(all)' ELSE c.category END AS category,
        c.category AS own_category, c.* EXCLUDE (category)
    FROM outcome_counts c
    JOIN newest n ON n.cohort = c.cohort
    JOIN windows w ON w.name = 'all' OR w.name = 'last_12' AND n.is_recent OR w.name = 'post_cutoff' AND c.after_cutoff
    CROSS JOIN scopes s
),
counts AS (
    SELECT "window", rule, round, model, scope, category,
        count(DISTINCT cohort) AS cohorts, min(cohort) AS first_cohort, max(cohort) AS last_cohort,
        sum(n_eligible)::BIGINT AS n_eligible, sum(n_attempted)::BIGINT AS n_attempted,
        sum(n_unattempted)::BIGINT AS n_unattempted, sum(n_pending)::BIGINT AS n_pending,
        sum(n_infra)::BIGINT AS n_infra, sum(n_graded)::BIGINT AS n_graded, sum(n_completed)::BIGINT AS n_completed,
        sum(n_retried)::BIGINT AS n_retried, sum(n_rescued)::BIGINT AS n_rescued,
        sum(n_failed_before)::BIGINT AS n_failed_before, sum(n_failed_rescued)::BIGINT AS n_failed_rescued,
        sum(n_never_retried)::BIGINT AS n_never_retried, sum(n_priced)::BIGINT AS n_priced,
        sum(usd_eligible::DECIMAL(18, 4))::DOUBLE AS usd_eligible,
        sum(usd_completed::DECIMAL(18, 4))::DOUBLE AS usd_completed, bool_or(simulated) AS simulated
    FROM cells GROUP BY ALL
),
-- the mix of the reference: how its jobs are spread over categories and price bands
reference AS (
    SELECT coalesce(category, 'unknown') AS own_category, price_band(price_usd, $price_bands) AS price_band,
        count(*) AS jobs
    FROM benchmark_jobs WHERE coalesce($reference_cohort, cohort) = cohort
    GROUP BY ALL
),
strata AS (
    SELECT "window", rule, round, model, scope, category, own_category, price_band,
        sum(n_eligible)::BIGINT AS n, sum(n_completed)::BIGINT AS x
    FROM cells GROUP BY ALL HAVING sum(n_graded) > 0
),
standardised AS (
    SELECT "window", rule, round, model, scope, category, sum(r.jobs)::DOUBLE AS covered,
        sum(r.jobs * s.x / s.n::DOUBLE ORDER BY own_category, price_band) / sum(r.jobs) AS rate_std,
        kish_n(sum(r.jobs), sum(r.jobs::DOUBLE ^ 2 / s.n ORDER BY own_category, price_band)) AS std_size
    FROM strata s JOIN reference r USING (own_category, price_band)
    GROUP BY ALL
),
mix AS (
    SELECT 'category' AS scope, own_category AS category, sum(jobs) AS jobs FROM reference GROUP BY ALL
    UNION ALL
    SELECT 'all', '(all)', sum(jobs) FROM reference
),
-- per client: jobs, and of these complete; squared prices as whole numbers of 1/10000 USD, whose sums are exact. Jobs are added
-- up before they are put into windows and scopes, so that none of their rows is ever held more than once
of_client AS (
    SELECT j.rule, j.round, j.model, j.category, coalesce('c' || j.client_id, 'j' || j.job_id) AS client, n.is_recent,
        j.after_cutoff, count(*) AS jobs, count(*) FILTER (WHERE j.state = 'complete') AS done,
        coalesce(sum(round(j.price_usd * 10000)::HUGEINT * round(j.price_usd * 10000)::HUGEINT), 0) AS price_squares
    FROM job_states j
    JOIN newest n ON n.cohort = j.cohort
    GROUP BY ALL
),
clients AS (
    SELECT w.name AS "window", o.rule, o.round, o.model, s.scope,
        CASE WHEN s.scope = 'all' THEN '(all)' ELSE o.category END AS category, o.client,
        sum(o.jobs)::HUGEINT AS jobs, sum(o.done)::HUGEINT AS done, sum(o.price_squares) AS price_squares
    FROM of_client o
    JOIN windows w ON w.name = 'all' OR w.name = 'last_12' AND o.is_recent OR w.name = 'post_cutoff' AND o.after_cutoff
    CROSS JOIN scopes s
    GROUP BY ALL
),
spread AS (
    SELECT "window", rule, round, model, scope, category, count(*) AS n_clients,
        sum(done * done)::DOUBLE AS done_done, sum(done * jobs)::DOUBLE AS done_jobs,
        sum(jobs * jobs)::DOUBLE AS jobs_jobs, sum(price_squares)::DOUBLE / 1e8 AS price_squares
    FROM clients GROUP BY ALL
),
sized AS (
    SELECT c.*, s.n_clients,
        cluster_se(n_clients, n_eligible, n_completed, done_done, done_jobs, jobs_jobs) AS se_clients,
        effective_n(n_clients, n_eligible, n_completed, done_done, done_jobs, jobs_jobs) AS n_eff,
        share(usd_completed, usd_eligible) AS earn_share, kish_n(usd_eligible, price_squares) AS earn_size,
        t.rate_std AS std_share, t.covered / m.jobs AS std_covered, t.std_size
    FROM counts c
    JOIN spread s USING ("window", rule, round, model, scope, category)
    LEFT JOIN standardised t USING ("window", rule, round, model, scope, category)
    LEFT JOIN mix m USING (scope, category)
)
SELECT "window", rule, round, model, scope, category, cohorts, first_cohort, last_cohort,
    n_eligible, n_attempted, n_unattempted, n_pending, n_infra, n_graded, n_completed, n_retried, n_rescued,
    n_failed_before, n_failed_rescued, n_never_retried,
    CASE WHEN n_graded > 0 THEN share(n_completed, n_eligible) END AS rate,
    CASE WHEN n_graded > 0 THEN wilson_lo(n_completed, n_eligible) END AS rate_lo,
    CASE WHEN n_graded > 0 THEN wilson_hi(n_completed, n_eligible) END AS rate_hi,
    share(n_completed, n_graded) AS rate_graded,
    wilson_lo(n_completed, n_graded) AS rate_graded_lo,
    wilson_hi(n_completed, n_graded) AS rate_graded_hi,
    share(n_completed, n_eligible) AS bound_lo,
    share(n_completed + n_eligible - n_graded, n_eligible) AS bound_hi,
    n_clients,
    CASE WHEN n_graded > 0 THEN se_clients END AS rate_se,
    CASE WHEN n_graded > 0 THEN n_eff END AS n_eff,
    CASE WHEN n_graded > 0 THEN wilson_lo(share(n_completed, n_eligible) * n_eff, n_eff) END AS rate_cl_lo,
    CASE WHEN n_graded > 0 THEN wilson_hi(share(n_completed, n_eligible) * n_eff, n_eff) END AS rate_cl_hi,
    n_priced, usd_eligible, usd_completed,
    CASE WHEN n_graded > 0 THEN earn_share END AS earn_rate,
    CASE WHEN n_graded > 0 THEN wilson_lo(earn_share * earn_size * n_eff / n_eligible, earn_size * n_eff / n_eligible)
        END AS earn_lo,
    CASE WHEN n_graded > 0 THEN wilson_hi(earn_share * earn_size * n_eff / n_eligible, earn_size * n_eff / n_eligible)
        END AS earn_hi,
    CASE WHEN n_graded > 0 THEN earn_size * n_eff / n_eligible END AS earn_n_eff,
    std_share AS rate_std,
    wilson_lo(std_share * std_size * n_eff / n_eligible, std_size * n_eff / n_eligible) AS rate_std_lo,
    wilson_hi(std_share * std_size * n_eff / n_eligible, std_size * n_eff / n_eligible) AS rate_std_hi,
    coalesce(std_covered, 0) AS std_covered,
    std_size * n_eff / n_eligible AS std_n_eff,
    CASE WHEN n_graded > 0 THEN 100 * smallest_gap(n_graded, 0.2) END AS mde_pp,
    0.2::DOUBLE AS mde_discordance,
    simulated
FROM sized
