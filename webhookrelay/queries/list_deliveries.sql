-- The last first, before a place. The state is
-- one of the conditions in stateConditions: as a parameter it would keep the planner from
-- the indexes that hold one state alone.
WITH webhook AS (
    SELECT EXISTS (
        SELECT FROM webhookrelay.webhooks w JOIN webhookrelay.endpoints e USING (webhook_id)
        WHERE w.webhook_id = $1 AND (NOT w.active OR e.gone_at IS NOT NULL)
    ) AS held
)
SELECT d.webhook_id, d.event_id, d.sequence, d.ping, d.position, d.event_type, d.claim_id, d.state, d.attempts,
    d.due_at, d.occurred_at, d.created_at, d.delivered_at, webhook.held
FROM webhookrelay.deliveries d, webhook
WHERE d.webhook_id = $1 AND {state}
  AND (d.sequence, d.ping) < ($2, $3)
ORDER BY d.sequence DESC, d.ping DESC
LIMIT $4
