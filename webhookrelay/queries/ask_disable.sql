-- Takes it upon oneself to have a webhook disabled, because it is gone ($3 is null) or has
-- been failing since $3, where that is so still: its receiver may have answered since it was
-- seen, its owner may have enabled it again, and another relay may be at it.
UPDATE webhookrelay.endpoints e
SET disable_asked_at = $2
FROM webhookrelay.webhooks w
WHERE e.webhook_id = $1 AND w.webhook_id = e.webhook_id AND w.active
  AND CASE WHEN $3::timestamptz IS NULL THEN e.gone_at IS NOT NULL ELSE e.gone_at IS NULL AND e.failing_since = $3 END
  AND (e.disable_asked_at IS NULL OR e.disable_asked_at <= $4)
  AND NOT EXISTS (SELECT FROM webhookrelay.tasks t WHERE t.webhook_id = w.webhook_id)
