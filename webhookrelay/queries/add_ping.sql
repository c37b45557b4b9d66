-- The endpoint's lock keeps others from adding one at the same time.
WITH event AS (
    INSERT INTO webhookrelay.events (event_id, position, event_type, claim_id, occurred_at, created_at, body)
    SELECT $2, c.position, $4, $2, $6, $7, $5 FROM webhookrelay.checkpoint c
), delivery AS (
    INSERT INTO webhookrelay.deliveries (webhook_id, event_id, sequence, ping, created_at, queued)
    SELECT $1, $2, $3, COALESCE(max(d.ping), 0) + 1, $7, true
    FROM webhookrelay.deliveries d
    WHERE d.webhook_id = $1 AND d.sequence = $3
    RETURNING webhook_id, sequence, ping, event_id
)
INSERT INTO webhookrelay.queue (webhook_id, sequence, ping, event_id, claim_id, due_at)
SELECT webhook_id, sequence, ping, event_id, event_id, $7 FROM delivery
