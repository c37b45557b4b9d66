-- It comes after what waits already of its claim and is before it, and what is sent once
-- more of its claim and is after it comes no earlier, see park.sql. Only what is not being
-- removed.
WITH ended AS (
    SELECT d.webhook_id, d.sequence, d.ping, d.event_id, (SELECT e.claim_id FROM webhookrelay.events e WHERE e.event_id = d.event_id)
    FROM webhookrelay.deliveries d
    WHERE d.webhook_id = $1 AND d.event_id = $2 AND d.state IN ('delivered', 'dead')
    FOR UPDATE OF d
), due AS MATERIALIZED (
    SELECT ended.*, GREATEST($3::timestamptz, (
        SELECT max(waiting.due_at) FROM (
            SELECT q.due_at FROM webhookrelay.queue q
            WHERE q.webhook_id = $1 AND q.claim_id = ended.claim_id AND q.state = 'pending' AND q.sequence < ended.sequence
            OFFSET 0
        ) AS waiting
    )) AS due_at
    FROM ended
), reopened AS (
    UPDATE webhookrelay.deliveries d
    SET state = 'pending', queued = true, ended_at = NULL
    FROM due
    WHERE d.webhook_id = due.webhook_id AND d.event_id = due.event_id
), queued AS (
    INSERT INTO webhookrelay.queue (webhook_id, sequence, ping, event_id, claim_id, due_at, again)
    SELECT due.webhook_id, due.sequence, due.ping, due.event_id, due.claim_id, due.due_at, true FROM due
    ON CONFLICT ON CONSTRAINT queue_pkey DO UPDATE
        SET state = 'pending', again = true, failures = 0, due_at = EXCLUDED.due_at
)
UPDATE webhookrelay.queue q
SET due_at = due.due_at
FROM due
WHERE q.webhook_id = due.webhook_id AND q.claim_id = due.claim_id AND q.state = 'pending' AND q.again
  AND q.sequence > due.sequence AND q.due_at < due.due_at
