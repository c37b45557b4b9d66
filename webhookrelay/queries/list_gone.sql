SELECT w.webhook_id, w.namespace, w.service_id
FROM webhookrelay.endpoints e
JOIN webhookrelay.webhooks w USING (webhook_id)
WHERE e.gone_at IS NOT NULL AND w.active
  AND (e.disable_asked_at IS NULL OR e.disable_asked_at <= $1)
  AND NOT EXISTS (SELECT FROM webhookrelay.tasks t WHERE t.webhook_id = w.webhook_id)
