-- The endpoint's lock keeps others from adding one at the same time.
INSERT INTO webhookrelay.deliveries
    (webhook_id, event_id, sequence, ping, position, event_type, claim_id, body, occurred_at, created_at, due_at)
SELECT $1, $2, $3,
    (SELECT COALESCE(max(d.ping), 0) + 1 FROM webhookrelay.deliveries d WHERE d.webhook_id = $1 AND d.sequence = $3),
    c.position, $4, $2, $5, $6, $7, $7
FROM webhookrelay.checkpoint c
