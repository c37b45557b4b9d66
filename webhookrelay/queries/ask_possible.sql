SELECT
    EXISTS (
        SELECT FROM webhookrelay.webhooks w JOIN webhookrelay.endpoints e USING (webhook_id)
        WHERE w.webhook_id = $1 AND (NOT w.active OR e.gone_at IS NOT NULL)),
    EXISTS (
        SELECT FROM webhookrelay.requests r
        WHERE r.webhook_id = $1 AND r.kind = 'replay' AND r.done_at IS NULL),
    COALESCE((SELECT d.state FROM webhookrelay.deliveries d WHERE d.webhook_id = $1 AND d.event_id = $2), '')
