-- A piece of what a webhook missed, dead, held or waiting for a retry, is queued anew: in
-- the order of its sequence, with all its retries before it, each due a little after the
-- one before, so that what comes anew need not wait behind all of it. What came after the
-- webhook was enabled is due as it was, or with what it waits for, see park.sql,
-- and what of that is fresh stays so. A ping is about now. Whose lease had run out has the
-- webhook no more: what he remembers of it is not so any longer. It says whether this was the
-- last piece.
--
-- A piece is so many numbers, however many of them were delivered. OFFSET 0 keeps the
-- planner from looking for a claim's through all that wait, and the webhook's id in each
-- row from looking for each through all that the webhook has.
WITH task AS (
    SELECT begun.*, LEAST(begun.requeued + $3::bigint, begun.last) AS piece
    FROM (
        SELECT GREATEST(t.next_due, $2) AS due, e.through, COALESCE(t.last_sequence, w.next_sequence - 1) AS last,
            COALESCE(t.requeued, LEAST(e.through, (
                SELECT q.sequence FROM webhookrelay.queue q
                WHERE q.webhook_id = $1 AND q.ping = 0
                ORDER BY q.sequence, q.ping LIMIT 1
            ) - 1)) AS requeued
        FROM webhookrelay.tasks t
        JOIN webhookrelay.webhooks w USING (webhook_id)
        JOIN webhookrelay.endpoints e USING (webhook_id)
        WHERE t.webhook_id = $1 AND t.kind = 'requeue'
        FOR UPDATE OF t SKIP LOCKED -- it is being begun anew
    ) AS begun
), missed AS MATERIALIZED (
    SELECT lane.*,
        task.due + $4::interval * (row_number() OVER (ORDER BY lane.sequence) - 1) AS due_at
    FROM task
    CROSS JOIN LATERAL (
        SELECT q.webhook_id, q.sequence, q.event_id, q.claim_id FROM webhookrelay.queue q
        WHERE q.webhook_id = $1 AND q.sequence > task.requeued AND q.sequence <= task.piece AND q.ping = 0
        UNION ALL
        SELECT d.webhook_id, d.sequence, d.event_id, (SELECT e.claim_id FROM webhookrelay.events e WHERE e.event_id = d.event_id)
        FROM webhookrelay.deliveries d
        WHERE d.webhook_id = $1 AND d.sequence > GREATEST(task.requeued, task.through) AND d.sequence <= task.piece AND d.ping = 0
          AND d.state = 'pending' AND NOT d.queued
    ) AS lane
), queued AS (
    INSERT INTO webhookrelay.queue (webhook_id, sequence, ping, event_id, claim_id, due_at)
    SELECT missed.webhook_id, missed.sequence, 0, missed.event_id, missed.claim_id, missed.due_at FROM missed
    ON CONFLICT ON CONSTRAINT queue_pkey DO UPDATE
        SET state = 'pending', failures = 0, due_at = EXCLUDED.due_at, again = queue.again AND queue.state = 'pending'
), pending AS (
    UPDATE webhookrelay.deliveries d
    SET state = 'pending', queued = true, ended_at = NULL
    FROM missed
    WHERE d.webhook_id = missed.webhook_id AND d.event_id = missed.event_id AND NOT d.queued
), waiting AS MATERIALIZED (
    SELECT newer.*, claim.due_at
    FROM (SELECT missed.claim_id, max(missed.due_at) AS due_at FROM missed GROUP BY missed.claim_id) AS claim
    CROSS JOIN task
    CROSS JOIN LATERAL (
        SELECT q.webhook_id, q.sequence, q.ping FROM webhookrelay.queue q
        WHERE q.webhook_id = $1 AND q.claim_id = claim.claim_id AND q.state = 'pending'
          AND q.sequence > task.last AND q.due_at < claim.due_at
        OFFSET 0
    ) AS newer
), postponed AS (
    UPDATE webhookrelay.queue q
    SET due_at = waiting.due_at
    FROM waiting
    WHERE q.webhook_id = waiting.webhook_id AND q.sequence = waiting.sequence AND q.ping = waiting.ping
), moved AS (
    UPDATE webhookrelay.tasks t
    SET requeued = task.piece, next_due = task.due + $4::interval * (SELECT count(*) FROM missed)
    FROM task
    WHERE t.webhook_id = $1
), passed AS (
    UPDATE webhookrelay.endpoints e
    SET through = GREATEST(e.through, task.piece), owner = '', owned_until = NULL
    FROM task
    WHERE e.webhook_id = $1 AND (e.through < task.piece OR e.owner <> '')
), unlisted AS (
    DELETE FROM webhookrelay.fresh f
    USING task
    WHERE f.webhook_id = $1 AND f.last_sequence <= task.piece
)
SELECT task.piece >= task.last FROM task
