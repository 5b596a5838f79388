"""Counts that must agree, within a table and between tables; each statement selects the rows in which they do not."""

from hapi_pipeline.checks.rules import Rule, sql_rule, violations

__all__ = ["RULES", "violations"]

FUNNEL = """
SELECT cohort, rule, n_in, n_kept, n_rejected, n_unknown,
       lag(n_kept) OVER (PARTITION BY cohort ORDER BY position) AS kept_before
FROM curation_funnel
QUALIFY n_in <> n_kept + n_rejected + n_unknown OR coalesce(n_in <> kept_before, false)
ORDER BY cohort, position
"""
FUNNEL_BY_CATEGORY = """
WITH counts AS (
    UNPIVOT (SELECT cohort, rule, n_in, n_kept, n_rejected, n_unknown, n_alone FROM curation_funnel)
    ON n_in, n_kept, n_rejected, n_unknown, n_alone INTO NAME count VALUE jobs
),
by_category AS (
    UNPIVOT (
        SELECT cohort, rule, sum(n_in)::BIGINT AS n_in, sum(n_kept)::BIGINT AS n_kept,
               sum(n_rejected)::BIGINT AS n_rejected, sum(n_unknown)::BIGINT AS n_unknown,
               sum(n_alone)::BIGINT AS n_alone
        FROM funnel_by_category GROUP BY ALL
    )
    ON n_in, n_kept, n_rejected, n_unknown, n_alone INTO NAME count VALUE jobs
)
SELECT cohort, rule, count, coalesce(f.jobs, 0) AS jobs, coalesce(c.jobs, 0) AS jobs_by_category
FROM counts f FULL JOIN by_category c USING (cohort, rule, count)
WHERE coalesce(f.jobs, 0) <> coalesce(c.jobs, 0)
UNION ALL
SELECT cohort, rule, category, n_in, n_kept + n_rejected + n_unknown
FROM funnel_by_category WHERE n_in <> n_kept + n_rejected + n_unknown
ORDER BY ALL
"""
_FAULTY_RATES = """
    n_eligible <> n_graded + n_pending + n_infra + n_unattempted OR n_completed > n_graded
    OR (rate IS NULL) <> (n_graded = 0) OR rate NOT BETWEEN rate_lo AND rate_hi
    OR rate NOT BETWEEN bound_lo AND bound_hi
    OR (rate_graded IS NULL) <> (n_graded = 0) OR rate_graded NOT BETWEEN rate_graded_lo AND rate_graded_hi
"""
RATES = f"""
SELECT cohort, model, round, category, rule, n_eligible, n_graded, n_pending, n_infra, n_unattempted, n_completed, rate
FROM completion_rates WHERE {_FAULTY_RATES} ORDER BY ALL
"""  # noqa: S608
WINDOW_RATES = f"""
SELECT w.window, model, round, scope, category, rule, n_eligible, n_graded, n_completed, rate, earn_rate, rate_std
FROM window_rates w
WHERE {_FAULTY_RATES}
   OR n_failed_rescued > n_failed_before OR n_priced > n_eligible OR usd_completed > usd_eligible
   OR (n_graded = 0 AND coalesce(earn_rate, rate_std, n_eff, mde_pp) IS NOT NULL)
   OR rate NOT BETWEEN rate_cl_lo AND rate_cl_hi OR earn_rate NOT BETWEEN earn_lo AND earn_hi
   OR rate_std NOT BETWEEN rate_std_lo AND rate_std_hi OR n_eff > n_eligible + 1e-6 OR std_covered NOT BETWEEN 0 AND 1
UNION ALL
SELECT "window", model, round, 'category', '(sum)', rule, n_eligible, n_graded, n_completed, NULL, NULL, NULL
FROM (
    SELECT "window", model, round, rule, scope, sum(n_eligible) AS n_eligible, sum(n_graded) AS n_graded,
        sum(n_completed) AS n_completed
    FROM window_rates GROUP BY ALL
)
GROUP BY ALL HAVING count(*) <> 2
ORDER BY ALL
"""  # noqa: S608
LIFT = """
SELECT l.window, model, round, rule, n_failed_before, n_retried, n_rescued, n_failed_rescued, n_paired
FROM feedback_lift l
WHERE (rescue_of_retried IS NULL) <> (n_retried = 0) OR (rescue_of_failed IS NULL) <> (n_failed_before = 0)
   OR (net_points IS NULL) <> (n_paired = 0) OR n_rescued > n_retried OR n_failed_rescued > n_failed_before
   OR n_before > n_completed OR n_paired <> coalesce(n_both + n_only_feedback + n_only_control + n_neither, 0)
   OR rescue_of_retried NOT BETWEEN rescue_lo AND rescue_hi OR net_points NOT BETWEEN net_lo AND net_hi
ORDER BY ALL
"""
CURVES = """
SELECT c.window, model, arm, turn, rule, n_eligible, n_at_risk, n_events, n_censored, hazard, curve
FROM cycle_curves c
WHERE (hazard IS NULL) <> (n_at_risk = 0) OR n_events > n_at_risk OR n_censored < 0
   OR n_at_risk + n_censored > n_eligible
   OR (curve IS NULL AND n_at_risk > 0 AND turn = 0) OR curve NOT BETWEEN curve_lo AND curve_hi
ORDER BY ALL
"""
REPEATS = """
SELECT r.window, model, round, rule, k, n_jobs, n_jobs_graded, n_jobs_k, n_attempts, n_graded, n_pending, n_infra
FROM repeatability r
WHERE n_attempts <> n_graded + n_pending + n_infra OR n_completed > n_graded OR n_jobs_k > n_jobs_graded
   OR (rate IS NULL) <> (n_jobs_graded = 0) OR (pass_hat_k IS NULL) <> (n_jobs_k = 0)
   OR rate NOT BETWEEN rate_lo AND rate_hi OR pass_hat_k NOT BETWEEN pass_hat_lo AND pass_hat_hi
   OR pass_at_k NOT BETWEEN pass_at_lo AND pass_at_hi OR pass_hat_k > pass_at_k + 1e-9
   OR rate_se_graders < rate_se - 1e-9
ORDER BY ALL
"""
BENCHMARK = """
SELECT cohort, rule, n_kept, (SELECT count(*) FROM benchmark_jobs b WHERE b.cohort = f.cohort) AS benchmark_jobs
FROM curation_funnel f WHERE rule = 'benchmark_jobs' AND n_kept <> benchmark_jobs ORDER BY ALL
"""
JOBLESS = """
SELECT a.cohort, a.model, a.round, a.attempt_id, a.job_id, 'no such job in job_posts' AS problem
FROM attempts a ANTI JOIN job_posts p ON p.job_id = a.job_id AND p.cohort = a.cohort ORDER BY ALL
"""
COST_WITHOUT_TOKENS = """
SELECT cohort, model, round, attempt_id, job_id, cost_usd, prompt_tokens, completion_tokens,
       'a cost without tokens' AS problem
FROM attempts WHERE cost_usd > 0 AND agent_profile IN ('paper', 'code') AND prompt_tokens + completion_tokens = 0
UNION ALL
SELECT cohort, model, round, attempt_id, job_id, cost_usd, prompt_tokens, completion_tokens,
       'a count or cost below zero, or a part that is larger than the whole' AS problem
FROM attempts
WHERE cost_usd < 0 OR prompt_tokens < 0 OR completion_tokens < 0 OR seconds < 0
   OR cached_tokens NOT BETWEEN 0 AND prompt_tokens OR reasoning_tokens NOT BETWEEN 0 AND completion_tokens
ORDER BY ALL
"""
ORPHANS = """
SELECT v.cohort, v.model, v.round, v.attempt_id, count(*) AS verdicts, 'no such attempt' AS problem
FROM verdicts v ANTI JOIN attempts a
    ON a.attempt_id = v.attempt_id AND (a.cohort, a.model, a.round) = (v.cohort, v.model, v.round)
GROUP BY ALL
UNION ALL
SELECT v.cohort, v.model, v.round, v.attempt_id, count(*), 'the attempt is at another job: ' || any_value(a.job_id)
FROM verdicts v JOIN attempts a
    ON a.attempt_id = v.attempt_id AND (a.cohort, a.model, a.round) = (v.cohort, v.model, v.round)
WHERE a.job_id <> v.job_id
GROUP BY ALL
ORDER BY ALL
"""
LATE = """
SELECT cohort, model, round, packet_id, grader, count(*) AS verdicts, max(graded_at) AS graded_at
FROM verdicts WHERE is_current AND list_contains(flags, 'late')
GROUP BY ALL ORDER BY ALL
"""
STATES = """
SELECT cohort, model, round, rule, n_states, n_jobs
FROM (SELECT cohort, model, round, rule, count(*) AS n_states FROM job_states GROUP BY ALL)
JOIN (SELECT cohort, count(*) AS n_jobs FROM benchmark_jobs GROUP BY ALL) USING (cohort)
WHERE n_states <> n_jobs ORDER BY ALL
"""
STATES_OF_OTHER_JOBS = """
SELECT s.cohort, s.model, s.round, s.rule, s.job_id, 'not in benchmark_jobs' AS problem
FROM job_states s ANTI JOIN benchmark_jobs b ON b.job_id = s.job_id AND b.cohort = s.cohort ORDER BY ALL
"""
OUTCOMES = """
WITH states AS (
    SELECT cohort, model, round, rule, count(*) AS jobs, count(*) FILTER (WHERE state = 'complete') AS complete
    FROM job_states GROUP BY ALL
),
counts AS (
    SELECT cohort, model, round, rule, sum(n_eligible)::BIGINT AS n_eligible, sum(n_completed)::BIGINT AS n_completed
    FROM outcome_counts GROUP BY ALL
)
SELECT cohort, model, round, rule, jobs, n_eligible, complete, n_completed
FROM states FULL JOIN counts USING (cohort, model, round, rule)
WHERE jobs IS DISTINCT FROM n_eligible OR complete IS DISTINCT FROM n_completed ORDER BY ALL
"""
RATES_OF_OUTCOMES = """
WITH counts AS (
    SELECT cohort, model, round, rule, sum(n_eligible)::BIGINT AS jobs, sum(n_graded)::BIGINT AS graded,
        sum(n_completed)::BIGINT AS completed
    FROM outcome_counts GROUP BY ALL
),
rates AS (
    SELECT cohort, model, round, rule, sum(n_eligible)::BIGINT AS n_eligible, sum(n_graded)::BIGINT AS n_graded,
        sum(n_completed)::BIGINT AS n_completed
    FROM completion_rates GROUP BY ALL
)
SELECT cohort, model, round, rule, jobs, n_eligible, graded, n_graded, completed, n_completed
FROM counts FULL JOIN rates USING (cohort, model, round, rule)
WHERE (jobs, graded, completed) IS DISTINCT FROM (n_eligible, n_graded, n_completed) ORDER BY ALL
"""
COSTS = ("economics", "workflow_advice", "leaderboard")
"""The tables that say what attempts cost."""
RULES: tuple[Rule, ...] = (
    sql_rule(
        "funnel_reconciles",
        "curation_funnel",
        "Every job that enters a rule is kept, rejected or unknown, what a rule keeps enters the next, and what the "
        "last one keeps is the benchmark. Otherwise a job got lost: the month is neither attempted nor counted.",
        FUNNEL,
        BENCHMARK,
        reads=("curation_funnel", "benchmark_jobs"),
        doubts=("curation_funnel", "benchmark_jobs"),
    ),
    sql_rule(
        "categories_add_up",
        "curation_funnel",
        "The funnels of the categories add up to that of the month, and each reconciles by itself.",
        FUNNEL_BY_CATEGORY,
        reads=("curation_funnel", "funnel_by_category"),
    ),
    sql_rule(
        "every_attempt_has_a_job",
        "attempts",
        "Each attempt is at a job of its month.",
        JOBLESS,
        reads=("attempts", "job_posts"),
    ),
    sql_rule(
        "no_cost_without_tokens",
        "attempts",
        "An attempt that cost something used tokens, and no figure is below zero. Otherwise nothing is said of costs.",
        COST_WITHOUT_TOKENS,
        reads=("attempts",),
        only=COSTS,
        mend="`hapi explain JOB` shows the attempt; put its record in the home's attempts/ right, then refresh.",
    ),
    sql_rule(
        "every_verdict_has_an_attempt",
        "verdicts",
        "Each verdict is on an attempt that is there, at the same job.",
        ORPHANS,
        reads=("verdicts", "attempts"),
    ),
    sql_rule(
        "late_verdicts",
        "verdicts",
        "No verdict that counts came after its packet was due. Late ones count all the same.",
        LATE,
        reads=("verdicts",),
        warning=True,
        mend="`hapi packets --status` says who is overdue.",
    ),
    sql_rule(
        "every_job_has_a_state",
        "job_states",
        "For every round and completion rule, each job of the benchmark has one state, and no other job has.",
        STATES,
        STATES_OF_OTHER_JOBS,
        reads=("job_states", "benchmark_jobs"),
    ),
    sql_rule(
        "outcomes_add_up",
        "outcome_counts",
        "The counts by category and price band add up to the jobs' states.",
        OUTCOMES,
        reads=("outcome_counts", "job_states"),
    ),
    sql_rule(
        "counts_add_up",
        "completion_rates",
        "Eligible jobs are graded, pending, infra or unattempted, rates lie within their bounds, and the categories "
        "add up to the counts that they are made from.",
        RATES,
        RATES_OF_OUTCOMES,
        reads=("completion_rates", "outcome_counts"),
    ),
    sql_rule(
        "window_counts_add_up",
        "window_rates",
        "The same over months, categories add up to all jobs, and nothing is said where nothing is graded.",
        WINDOW_RATES,
        reads=("window_rates",),
    ),
    sql_rule(
        "lift_has_its_counts",
        "feedback_lift",
        "A rescue rate stands over jobs that were tried again, and a net effect over jobs known in both arms.",
        LIFT,
        reads=("feedback_lift",),
    ),
    sql_rule(
        "curves_have_their_counts",
        "cycle_curves",
        "A hazard stands over jobs at risk, and jobs are at risk, censored or complete before.",
        CURVES,
        reads=("cycle_curves",),
    ),
    sql_rule(
        "repeats_have_their_counts",
        "repeatability",
        "Attempts are graded, pending or infra, and a figure for k attempts stands over jobs that have so many.",
        REPEATS,
        reads=("repeatability",),
    ),
)
