-- It is the failures that last so long, and not the silence after them. One that has just
-- been enabled again still has to be reset.
SELECT w.webhook_id, w.namespace, w.service_id, e.failing_since
FROM webhookrelay.endpoints e
JOIN webhookrelay.webhooks w USING (webhook_id)
WHERE e.failing_since IS NOT NULL AND e.last_failure_at - e.failing_since >= $1
  AND e.gone_at IS NULL AND w.active
  AND (e.disable_asked_at IS NULL OR e.disable_asked_at <= $2)
  AND NOT EXISTS (SELECT FROM webhookrelay.tasks t WHERE t.webhook_id = w.webhook_id)
