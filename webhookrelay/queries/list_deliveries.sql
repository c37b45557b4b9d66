-- The last first, before a place. What is on the page is one of the statements page_of_*: as
-- a parameter the state would keep the planner from the indexes that hold one alone. OFFSET 0
-- keeps it from joining more than the page. What is fresh is due since it was made.
WITH webhook AS (
    SELECT e.through, NOT w.active OR e.gone_at IS NOT NULL AS held
    FROM webhookrelay.webhooks w
    JOIN webhookrelay.endpoints e USING (webhook_id)
    WHERE w.webhook_id = $1
), page AS (
    {page}
)
SELECT d.webhook_id, d.event_id, d.sequence, d.ping, e.position, e.event_type, e.claim_id, d.state, d.attempts,
    CASE WHEN d.queued THEN waiting.due_at ELSE d.created_at END AS due_at, e.occurred_at, d.created_at, d.ended_at,
    d.begun_at, d.took, d.status, d.response, d.error,
    COALESCE((SELECT held FROM webhook), false) AS held
FROM page
CROSS JOIN LATERAL (
    SELECT * FROM webhookrelay.deliveries d
    WHERE d.webhook_id = $1 AND d.sequence = page.sequence AND d.ping = page.ping
    OFFSET 0
) AS d
CROSS JOIN LATERAL (SELECT * FROM webhookrelay.events e WHERE e.event_id = d.event_id OFFSET 0) AS e
LEFT JOIN LATERAL (
    SELECT q.due_at FROM webhookrelay.queue q
    WHERE d.queued AND q.webhook_id = $1 AND q.sequence = page.sequence AND q.ping = page.ping
    OFFSET 0
) AS waiting ON true
ORDER BY page.sequence DESC, page.ping DESC
