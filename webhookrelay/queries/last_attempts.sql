SELECT a.event_id, a.n, a.begun_at, a.took, a.status, a.response, a.error
FROM webhookrelay.deliveries d
JOIN webhookrelay.attempts a ON a.webhook_id = d.webhook_id AND a.event_id = d.event_id AND a.n = d.attempts
WHERE d.webhook_id = $1 AND d.event_id = ANY ($2)
