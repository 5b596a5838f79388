-- Jobs that failed by a single criterion, and which criterion that was (its text where the job is cleared).
SELECT o.model, o.round, o.job_id, r.criterion_id, r.importance, r.text, o.n_criteria, o.simulated
FROM attempt_outcomes o
JOIN criterion_outcomes c USING (attempt_id)
JOIN rubrics r ON r.job_id = o.job_id AND list_contains(c.fails, r.criterion_id)
WHERE o.near_miss AND len(c.fails) = 1
ORDER BY o.model, o.round, o.job_id
