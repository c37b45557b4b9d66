-- The attempts that give way to later ones in their delivery's row. Where the row has the
-- later one already, it was written and that was not heard.
INSERT INTO webhookrelay.attempts (webhook_id, event_id, n, begun_at, took, status, response, error)
SELECT d.webhook_id, d.event_id, d.attempts, d.begun_at, d.took, d.status, COALESCE(d.response, ''), COALESCE(d.error, '')
FROM unnest($1::text[], $2::text[], $3::int[]) AS o (webhook_id, event_id, attempts)
JOIN webhookrelay.deliveries d USING (webhook_id, event_id, attempts)
WHERE d.begun_at IS NOT NULL
ON CONFLICT ON CONSTRAINT attempts_pkey DO NOTHING
