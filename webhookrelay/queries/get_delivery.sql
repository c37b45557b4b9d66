SELECT d.webhook_id, d.event_id, d.sequence, d.ping, d.position, d.event_type, d.claim_id, d.state, d.attempts,
    d.due_at, d.occurred_at, d.created_at, d.delivered_at,
    EXISTS (
        SELECT FROM webhookrelay.webhooks w JOIN webhookrelay.endpoints e USING (webhook_id)
        WHERE w.webhook_id = d.webhook_id AND (NOT w.active OR e.gone_at IS NOT NULL)
    ) AS held
FROM webhookrelay.deliveries d
WHERE d.webhook_id = $1 AND d.event_id = $2
