SELECT lane.sequence, lane.ping FROM (
    (
        SELECT d.sequence, d.ping FROM webhookrelay.deliveries d
        WHERE d.webhook_id = $1 AND d.sequence > (SELECT through FROM webhook) AND (d.sequence, d.ping) < ($2, $3)
          AND d.state = 'pending' AND NOT d.queued
        ORDER BY d.sequence DESC, d.ping DESC
        LIMIT $4
    )
    UNION ALL
    (
        SELECT q.sequence, q.ping FROM webhookrelay.queue q
        WHERE q.webhook_id = $1 AND (q.sequence, q.ping) < ($2, $3) AND q.state = 'pending' AND q.sequence >= 0
        ORDER BY q.sequence DESC, q.ping DESC
        LIMIT $4
    )
) AS lane
WHERE COALESCE((SELECT held FROM webhook), false) = {which}
ORDER BY lane.sequence DESC, lane.ping DESC
LIMIT $4
