-- A statement of its own after the lock, because only so it sees what others did before
-- they released it.
SELECT e.webhook_id, e.failures, e.paused_until,
    (SELECT count(*) FROM webhookrelay.leases l WHERE l.webhook_id = e.webhook_id AND l.leased_until > $2) AS in_flight,
    w.url, w.secret_key_id, w.secret, w.auth_header, w.auth_key_id, w.auth_value,
    former.key_ids, former.secrets
FROM webhookrelay.endpoints e
JOIN webhookrelay.webhooks w USING (webhook_id)
CROSS JOIN LATERAL (
    SELECT COALESCE(array_agg(s.secret_key_id ORDER BY s.until DESC), '{}') AS key_ids,
        COALESCE(array_agg(s.secret ORDER BY s.until DESC), '{}') AS secrets
    FROM webhookrelay.former_secrets s
    WHERE s.webhook_id = e.webhook_id AND s.until > $2
) AS former
WHERE e.webhook_id = ANY ($1) AND w.active AND e.gone_at IS NULL
  AND NOT EXISTS (SELECT FROM webhookrelay.tasks t WHERE t.webhook_id = e.webhook_id)
