-- The webhooks that have something to deliver: the last that is fresh, whether something
-- in the queue is due, how far it was delivered, how its receiver
-- is doing, and whether somebody else has it, whose token does not begin with $2.
--
-- The first part finds the webhooks that have anything in the queue, and when the first of
-- it is due, by jumping from one to the next in the index, so that it costs the same
-- however much each has.
WITH RECURSIVE queued (webhook_id, due_at) AS (
    (SELECT webhook_id, due_at FROM webhookrelay.queue WHERE state = 'pending' ORDER BY webhook_id, due_at LIMIT 1)
    UNION ALL
    SELECT next.webhook_id, next.due_at
    FROM queued
    CROSS JOIN LATERAL (
        SELECT q.webhook_id, q.due_at FROM webhookrelay.queue q
        WHERE q.state = 'pending' AND q.webhook_id > queued.webhook_id
        ORDER BY q.webhook_id, q.due_at LIMIT 1
    ) AS next
), busy AS (
    SELECT one.webhook_id, max(one.last_sequence) AS last_sequence, bool_or(one.due_at <= $1) AS due
    FROM (
        SELECT f.webhook_id, f.last_sequence, NULL::timestamptz AS due_at FROM webhookrelay.fresh f
        UNION ALL
        SELECT queued.webhook_id, 0, queued.due_at FROM queued
    ) AS one
    GROUP BY one.webhook_id
)
SELECT b.webhook_id, b.last_sequence, COALESCE(b.due, false), e.through, e.failures, e.paused_until,
    e.owner <> '' AND e.owned_until > $1 AND NOT starts_with(ltrim(e.owner, '@'), $2),
    CASE WHEN e.paused_until > $1 THEN COALESCE((
        SELECT q.due_at FROM webhookrelay.queue q
        WHERE q.webhook_id = e.webhook_id AND q.state = 'pending' AND q.failures > 0
        ORDER BY q.due_at LIMIT 1
    ) <= $1, false) ELSE false END
FROM busy b
JOIN webhookrelay.endpoints e USING (webhook_id)
JOIN webhookrelay.webhooks w USING (webhook_id)
WHERE w.active AND e.gone_at IS NULL
  AND NOT EXISTS (SELECT FROM webhookrelay.tasks t WHERE t.webhook_id = e.webhook_id)
ORDER BY b.webhook_id
