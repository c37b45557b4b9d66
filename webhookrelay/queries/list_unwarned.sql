SELECT w.webhook_id, w.namespace, e.failing_since
FROM webhookrelay.endpoints e
JOIN webhookrelay.webhooks w USING (webhook_id)
WHERE e.failing_since IS NOT NULL AND e.last_failure_at - e.failing_since >= $1
  AND e.warned_at IS NULL AND e.gone_at IS NULL AND w.active
  AND NOT EXISTS (SELECT FROM webhookrelay.tasks t WHERE t.webhook_id = w.webhook_id)
