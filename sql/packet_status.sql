-- grain: packet × role × grader
-- inputs: assignments as last noted, current verdicts on criteria that still stand, whoever gave them
-- overdue: not told here, for it changes with the hour and not with the rows: it is out, incomplete or stale after due_at
WITH given AS (
    SELECT assignment_id, any_value(packet_id) AS packet_id, any_value(grader) AS grader, any_value(role) AS role,
        min(assigned_at) AS assigned_at, min(due_at) AS due_at, bool_or(event = 'withdrawn') AS withdrawn,
        coalesce(arg_max(event, noted_at) FILTER (WHERE event IN ('flagged', 'cleared')) = 'flagged', false) AS flagged
    FROM assignments
    GROUP BY assignment_id
),
answers AS (
    SELECT v.packet_id, v.grader, v.grader_role, v.criterion_id, v.passed, v.minutes, v.imported_at, v.simulated,
        v.rubric_version = p.rubric_version OR coalesce(s.still_stands, false) AS stands
    FROM verdicts v
    JOIN packets p USING (packet_id)
    LEFT JOIN standing_criteria s
        ON s.job_id = v.job_id AND s.criterion_id = v.criterion_id AND s.rubric_version = v.rubric_version
    WHERE v.is_current AND v.criterion_id <> '__overall__'
),
returned AS (
    SELECT packet_id, lower(grader) AS known_as, any_value(grader ORDER BY grader) AS grader,
        bool_or(grader_role = 'adjudicator') AS adjudicates,
        count(DISTINCT criterion_id) FILTER (WHERE stands) AS n_answered, bool_or(NOT stands) AS some_stale,
        max(minutes) AS minutes, max(imported_at) AS returned_at, bool_or(simulated) AS simulated
    FROM answers
    GROUP BY packet_id, known_as
),
voices AS (
    SELECT packet_id, criterion_id, passed,
        grader_role = 'adjudicator' OR count(passed) FILTER (WHERE grader_role = 'adjudicator')
            OVER (PARTITION BY packet_id, criterion_id) = 0 AS counts
    FROM answers
    WHERE stands
),
decided AS (
    SELECT packet_id, criterion_id, bool_and(passed) AS passed, bool_and(passed) <> bool_or(passed) AS disputed
    FROM voices
    WHERE counts
    GROUP BY packet_id, criterion_id
),
standing AS (
    SELECT packet_id, count(*) FILTER (WHERE disputed) AS n_disputed, count(*) FILTER (WHERE passed IS NULL) AS n_unjudged,
        count(*) FILTER (WHERE NOT passed AND NOT disputed) AS n_failed
    FROM decided
    GROUP BY packet_id
),
held AS (
    SELECT g.packet_id, g.role, g.grader, 'asked' AS how, g.assigned_at, g.due_at, g.flagged, r.n_answered, r.some_stale,
        r.minutes, r.returned_at, r.simulated
    FROM given g
    LEFT JOIN returned r ON r.packet_id = g.packet_id AND r.known_as = lower(g.grader)
    WHERE NOT g.withdrawn
    UNION ALL
    -- who answered without having been asked, or after the packet was withdrawn
    SELECT r.packet_id, CASE WHEN r.adjudicates THEN 'adjudicator' ELSE 'grader' END, coalesce(w.grader, r.grader),
        CASE WHEN w.grader IS NULL THEN 'unasked' ELSE 'withdrawn' END, w.assigned_at, w.due_at,
        coalesce(w.flagged, false), r.n_answered, r.some_stale, r.minutes, r.returned_at, r.simulated
    FROM returned r
    LEFT JOIN (
        SELECT packet_id, lower(grader) AS known_as, any_value(grader) AS grader, max(assigned_at) AS assigned_at,
            max(due_at) AS due_at, bool_or(flagged) AS flagged
        FROM given WHERE withdrawn GROUP BY packet_id, known_as
    ) w USING (packet_id, known_as)
    ANTI JOIN (SELECT packet_id, lower(grader) AS known_as FROM given WHERE NOT withdrawn) g USING (packet_id, known_as)
),
pieces AS (
    SELECT p.packet_id, h.role, h.grader, h.how, h.assigned_at, h.due_at, coalesce(h.flagged, false) AS unqualified,
        coalesce(h.n_answered, 0) AS n_answered, coalesce(h.some_stale, false) AS some_stale, h.minutes, h.returned_at,
        h.simulated, coalesce(h.n_answered, 0) >= p.n_criteria AS answered
    FROM packets p
    JOIN held h USING (packet_id)
    WHERE h.how <> 'withdrawn' OR h.n_answered >= p.n_criteria
),
packet_states AS (
    SELECT p.packet_id, coalesce(s.n_disputed, 0) AS n_disputed,
        bool_or(w.role <> 'adjudicator') AS has_grader,
        coalesce(bool_and(w.answered) FILTER (WHERE w.how = 'asked'), bool_or(w.answered), false) AS all_back,
        coalesce(bool_or(w.role = 'adjudicator' AND NOT w.answered), false) AS awaits_adjudicator,
        coalesce(s.n_disputed, 0) > 0
            -- nobody could judge what the outcome hangs on, and nobody has been asked to decide
            OR s.n_unjudged > 0 AND s.n_failed = 0 AND NOT bool_or(w.role = 'adjudicator' AND w.answered) AS unsettled
    FROM packets p
    LEFT JOIN standing s USING (packet_id)
    LEFT JOIN pieces w USING (packet_id)
    GROUP BY p.packet_id, s.n_disputed, s.n_unjudged, s.n_failed
),
told AS (
    SELECT w.packet_id, w.role, w.grader,
        CASE WHEN NOT w.answered AND w.some_stale THEN 'stale'
             WHEN NOT w.answered AND w.n_answered = 0 THEN 'out'
             WHEN NOT w.answered THEN 'incomplete'
             WHEN t.all_back AND t.unsettled OR t.n_disputed > 0 AND t.awaits_adjudicator THEN 'in_conflict'
             WHEN NOT t.all_back THEN 'back'
             ELSE 'complete' END AS status,
        w.n_answered, w.minutes, w.assigned_at, w.due_at, w.returned_at, w.unqualified, w.simulated
    FROM pieces w
    JOIN packet_states t USING (packet_id)
    UNION ALL
    SELECT packet_id, 'grader', NULL, 'unassigned', 0, NULL, NULL, NULL, NULL, false, false
    FROM packet_states WHERE NOT coalesce(has_grader, false)
    UNION ALL
    SELECT packet_id, 'adjudicator', NULL, 'to_adjudicate', 0, NULL, NULL, NULL, NULL, false, false
    FROM packet_states WHERE all_back AND unsettled
)
SELECT p.cohort, p.model, p.round, p.job_id, p.packet_id, t.role, t.grader, t.status, p.n_criteria, t.n_answered,
    s.n_disputed, t.minutes, t.assigned_at, t.due_at, t.returned_at,
    date_diff('second', t.assigned_at, t.returned_at) / 86400.0 AS days,
    t.unqualified, p.simulated OR coalesce(t.simulated, false) AS simulated
FROM told t
JOIN packets p USING (packet_id)
JOIN packet_states s USING (packet_id)
