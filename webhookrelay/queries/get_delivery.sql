SELECT d.webhook_id, d.event_id, d.sequence, d.ping, e.position, e.event_type, e.claim_id, d.state, d.attempts,
    CASE WHEN d.queued THEN q.due_at ELSE d.created_at END AS due_at, e.occurred_at, d.created_at, d.ended_at,
    d.begun_at, d.took, d.status, d.response, d.error,
    EXISTS (
        SELECT FROM webhookrelay.webhooks w JOIN webhookrelay.endpoints e USING (webhook_id)
        WHERE w.webhook_id = d.webhook_id AND (NOT w.active OR e.gone_at IS NOT NULL)
    ) AS held
FROM webhookrelay.deliveries d
JOIN webhookrelay.events e USING (event_id)
LEFT JOIN webhookrelay.queue q ON d.queued AND q.webhook_id = d.webhook_id AND q.sequence = d.sequence AND q.ping = d.ping
WHERE d.webhook_id = $1 AND d.event_id = $2
