-- The webhooks with a delivery that is due and may be attempted, and how their receivers are doing.
--
-- The first part finds the webhooks that have anything pending, and when the first of it
-- is due, by jumping from one to the next in the index, so that it costs the same however
-- much each has.
WITH RECURSIVE busy (webhook_id, due_at) AS (
    (SELECT webhook_id, due_at FROM webhookrelay.deliveries WHERE state = 'pending' ORDER BY webhook_id, due_at LIMIT 1)
    UNION ALL
    SELECT next.webhook_id, next.due_at
    FROM busy
    CROSS JOIN LATERAL (
        SELECT d.webhook_id, d.due_at FROM webhookrelay.deliveries d
        WHERE d.state = 'pending' AND d.webhook_id > busy.webhook_id
        ORDER BY d.webhook_id, d.due_at LIMIT 1
    ) AS next
)
SELECT e.webhook_id, e.failures, e.paused_until,
    (SELECT count(*) FROM webhookrelay.leases l WHERE l.webhook_id = e.webhook_id AND l.leased_until > $1) AS in_flight,
    CASE WHEN e.paused_until > $1 THEN COALESCE((
        SELECT d.due_at FROM webhookrelay.deliveries d
        WHERE d.webhook_id = e.webhook_id AND d.state = 'pending' AND d.failures > 0
        ORDER BY d.due_at LIMIT 1
    ) <= $1, false) ELSE false END AS retry_due
FROM busy
JOIN webhookrelay.endpoints e USING (webhook_id)
JOIN webhookrelay.webhooks w USING (webhook_id)
WHERE busy.due_at <= $1 AND w.active AND e.gone_at IS NULL
  AND NOT EXISTS (SELECT FROM webhookrelay.tasks t WHERE t.webhook_id = e.webhook_id)
ORDER BY e.webhook_id
