WITH RECURSIVE busy (webhook_id) AS (
    (SELECT webhook_id FROM webhookrelay.deliveries WHERE state = 'pending' ORDER BY webhook_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT d.webhook_id FROM webhookrelay.deliveries d
        WHERE d.state = 'pending' AND d.webhook_id > busy.webhook_id
        ORDER BY d.webhook_id LIMIT 1
    )
    FROM busy WHERE busy.webhook_id IS NOT NULL
)
SELECT
    (SELECT position FROM webhookrelay.checkpoint),
    (SELECT count(*) FROM (SELECT FROM webhookrelay.deliveries WHERE state = 'pending' LIMIT $2) AS counted),
    (SELECT count(*) FROM webhookrelay.tasks),
    (
        SELECT min(first.due_at)
        FROM busy
        JOIN webhookrelay.webhooks w USING (webhook_id)
        CROSS JOIN LATERAL (
            SELECT d.due_at FROM webhookrelay.deliveries d
            WHERE d.webhook_id = busy.webhook_id AND d.state = 'pending'
            ORDER BY d.due_at LIMIT 1
        ) AS first
        WHERE w.active AND first.due_at <= $1
    )
