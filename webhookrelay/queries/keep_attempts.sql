-- The attempts that give way to later ones in their delivery's row.
INSERT INTO webhookrelay.attempts (webhook_id, event_id, n, begun_at, took, status, response, error)
SELECT d.webhook_id, d.event_id, d.attempts, d.begun_at, d.took, d.status, COALESCE(d.response, ''), COALESCE(d.error, '')
FROM unnest($1::text[], $2::text[]) AS o (webhook_id, event_id)
JOIN webhookrelay.deliveries d USING (webhook_id, event_id)
WHERE d.begun_at IS NOT NULL
