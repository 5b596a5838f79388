-- The headline counted anew from the jobs: states of jobs by model and round; n_completed is that of leaderboard.
SELECT model, round, count(*) AS n_eligible,
    count(*) FILTER (WHERE state = 'complete') AS n_completed,
    count(*) FILTER (WHERE state IN ('complete', 'failed')) AS n_graded,
    bool_or(simulated) AS simulated
FROM job_states WHERE rule = 'all_criteria'
GROUP BY model, round ORDER BY round, n_completed DESC, model
