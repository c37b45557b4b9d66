-- The webhooks that have anything in the queue are found by jumping from one to the next in
-- the index, so that it costs the same however much each has.
WITH RECURSIVE busy (webhook_id) AS (
    (SELECT webhook_id FROM webhookrelay.queue WHERE state = 'pending' ORDER BY webhook_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT q.webhook_id FROM webhookrelay.queue q
        WHERE q.state = 'pending' AND q.webhook_id > busy.webhook_id
        ORDER BY q.webhook_id LIMIT 1
    )
    FROM busy WHERE busy.webhook_id IS NOT NULL
)
SELECT
    (SELECT position FROM webhookrelay.checkpoint),
    (
        SELECT count(*) FROM (
            SELECT FROM webhookrelay.queue WHERE state = 'pending'
            UNION ALL
            SELECT FROM webhookrelay.fresh f
            JOIN webhookrelay.endpoints e USING (webhook_id)
            CROSS JOIN LATERAL (
                SELECT FROM webhookrelay.deliveries d
                WHERE d.webhook_id = f.webhook_id AND d.sequence > e.through AND d.state = 'pending' AND NOT d.queued
                OFFSET 0
            ) AS untried
            LIMIT $2
        ) AS counted
    ),
    (SELECT count(*) FROM webhookrelay.tasks),
    LEAST(
        (
            SELECT min(first.due_at)
            FROM busy
            JOIN webhookrelay.webhooks w USING (webhook_id)
            CROSS JOIN LATERAL (
                SELECT q.due_at FROM webhookrelay.queue q
                WHERE q.webhook_id = busy.webhook_id AND q.state = 'pending'
                ORDER BY q.due_at LIMIT 1
            ) AS first
            WHERE w.active AND first.due_at <= $1
        ),
        (
            SELECT min(first.created_at)
            FROM webhookrelay.fresh f
            JOIN webhookrelay.webhooks w USING (webhook_id)
            JOIN webhookrelay.endpoints e USING (webhook_id)
            CROSS JOIN LATERAL (
                SELECT d.created_at FROM webhookrelay.deliveries d
                WHERE d.webhook_id = f.webhook_id AND d.sequence > e.through AND d.state = 'pending' AND NOT d.queued
                ORDER BY d.sequence LIMIT 1
            ) AS first
            WHERE w.active AND first.created_at <= $1
        )
    )
