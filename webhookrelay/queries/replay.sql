-- What is pending comes anyway. Due as in redeliver.sql.
WITH next AS (
    SELECT d.webhook_id, d.event_id, d.sequence, d.state, e.claim_id
    FROM webhookrelay.deliveries d
    CROSS JOIN LATERAL (SELECT * FROM webhookrelay.events e WHERE e.event_id = d.event_id OFFSET 0) AS e
    WHERE d.webhook_id = $1 AND d.ping = 0 AND d.sequence > $2 AND d.sequence <= $3
      AND (e.position >= $4 OR e.occurred_at >= $5)
    ORDER BY d.sequence
    LIMIT $6
    FOR UPDATE OF d
), due AS MATERIALIZED (
    SELECT next.*, GREATEST($7::timestamptz, (
        SELECT max(waiting.due_at) FROM (
            SELECT q.due_at FROM webhookrelay.queue q
            WHERE q.webhook_id = $1 AND q.claim_id = next.claim_id AND q.state = 'pending' AND q.sequence < next.sequence
            OFFSET 0
        ) AS waiting
    )) AS due_at
    FROM next
    WHERE next.state IN ('delivered', 'dead')
), reopened AS (
    UPDATE webhookrelay.deliveries d
    SET state = 'pending', queued = true, ended_at = NULL
    FROM due
    WHERE d.webhook_id = due.webhook_id AND d.event_id = due.event_id
), queued AS (
    INSERT INTO webhookrelay.queue (webhook_id, sequence, ping, event_id, claim_id, due_at, again)
    SELECT due.webhook_id, due.sequence, 0, due.event_id, due.claim_id, due.due_at, true FROM due
    ON CONFLICT ON CONSTRAINT queue_pkey DO UPDATE
        SET state = 'pending', again = true, failures = 0, due_at = EXCLUDED.due_at
), waiting AS MATERIALIZED (
    SELECT later.webhook_id, later.sequence, later.ping, max(due.due_at) AS due_at
    FROM due
    CROSS JOIN LATERAL (
        SELECT q.webhook_id, q.sequence, q.ping FROM webhookrelay.queue q
        WHERE q.webhook_id = $1 AND q.claim_id = due.claim_id AND q.state = 'pending' AND q.again
          AND q.sequence > due.sequence AND q.due_at < due.due_at
        OFFSET 0
    ) AS later
    GROUP BY later.webhook_id, later.sequence, later.ping
), postponed AS (
    UPDATE webhookrelay.queue q
    SET due_at = waiting.due_at
    FROM waiting
    WHERE q.webhook_id = waiting.webhook_id AND q.sequence = waiting.sequence AND q.ping = waiting.ping
)
SELECT max(sequence) FROM next
