-- A piece of what a webhook missed, dead, held or waiting for a retry, is queued anew: in
-- the order of its sequence, with all its retries before it, each due a little after the
-- one before, so that what comes anew need not wait behind all of it. What is in flight is left
-- to its outcome. It says whether this was the last piece.
--
-- A piece is so many numbers, however many of them were delivered. OFFSET 0 keeps the
-- planner from looking for the first through all that were.
WITH task AS (
    SELECT GREATEST(t.next_due, $2) AS due,
        COALESCE(t.requeued, LEAST(
            (SELECT min(first.sequence) FROM (
                SELECT d.sequence FROM webhookrelay.deliveries d WHERE d.webhook_id = $1 AND d.state = 'pending' OFFSET 0
            ) AS first),
            (SELECT min(first.sequence) FROM (
                SELECT d.sequence FROM webhookrelay.deliveries d WHERE d.webhook_id = $1 AND d.state = 'dead' OFFSET 0
            ) AS first)
        ) - 1) AS requeued
    FROM webhookrelay.tasks t
    WHERE t.webhook_id = $1 AND t.kind = 'requeue'
    FOR UPDATE OF t SKIP LOCKED -- it is being begun anew
), missed AS (
    SELECT d.webhook_id, d.event_id, task.due + $4::interval * (row_number() OVER (ORDER BY d.sequence, d.ping) - 1) AS due_at
    FROM task
    JOIN webhookrelay.deliveries d ON d.webhook_id = $1 AND d.sequence > task.requeued AND d.sequence <= task.requeued + $3::bigint
    WHERE (d.state = 'pending' OR d.state = 'dead' AND d.ping = 0)
      AND NOT EXISTS (
        SELECT FROM webhookrelay.leases l
        WHERE l.webhook_id = d.webhook_id AND l.event_id = d.event_id AND l.leased_until > $2)
), queued AS (
    UPDATE webhookrelay.deliveries d
    SET state = 'pending', failures = 0, due_at = missed.due_at
    FROM missed
    WHERE d.webhook_id = missed.webhook_id AND d.event_id = missed.event_id
), moved AS (
    UPDATE webhookrelay.tasks t
    SET requeued = task.requeued + $3::bigint, next_due = task.due + $4::interval * (SELECT count(*) FROM missed)
    FROM task
    WHERE t.webhook_id = $1
)
SELECT task.requeued IS NULL OR task.requeued + $3::bigint >= w.next_sequence - 1
FROM task
JOIN webhookrelay.webhooks w ON w.webhook_id = $1
