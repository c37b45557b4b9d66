-- How the webhooks are called that somebody has, and may be called.
SELECT e.webhook_id, w.url, w.secret_key_id, w.secret, w.auth_header, w.auth_key_id, w.auth_value, former.key_ids, former.secrets
FROM unnest($1::text[], $2::text[]) AS mine (webhook_id, owner)
JOIN webhookrelay.endpoints e USING (webhook_id, owner)
JOIN webhookrelay.webhooks w USING (webhook_id)
CROSS JOIN LATERAL (
    SELECT COALESCE(array_agg(s.secret_key_id ORDER BY s.until DESC), '{}') AS key_ids,
        COALESCE(array_agg(s.secret ORDER BY s.until DESC), '{}') AS secrets
    FROM webhookrelay.former_secrets s
    WHERE s.webhook_id = e.webhook_id AND s.until > $3
) AS former
WHERE w.active AND e.gone_at IS NULL
  AND NOT EXISTS (SELECT FROM webhookrelay.tasks t WHERE t.webhook_id = e.webhook_id)
