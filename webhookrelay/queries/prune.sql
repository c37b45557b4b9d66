-- Of the oldest events after a place, the deliveries that ended long ago, and the events that
-- have none left. Nobody waits for it, and it waits for nobody: what others are changing now
-- is left for the next time. It says how many deliveries that were, and where the last of the
-- events is; null: there were none.
WITH old AS (
    SELECT e.event_id, e.created_at FROM webhookrelay.events e
    WHERE e.created_at < $1 AND e.created_at >= $2 AND (e.created_at, e.event_id) > ($2, $3)
    ORDER BY e.created_at, e.event_id
    LIMIT $4
    FOR UPDATE SKIP LOCKED
), ended AS (
    SELECT d.event_id, d.webhook_id, d.sequence, d.ping
    FROM old
    JOIN webhookrelay.deliveries d USING (event_id)
    WHERE d.state <> 'pending' AND d.ended_at < $1
    LIMIT $4
    FOR UPDATE OF d SKIP LOCKED
), removed AS (
    DELETE FROM webhookrelay.deliveries d
    USING ended
    WHERE d.event_id = ended.event_id AND d.webhook_id = ended.webhook_id
), attempts AS (
    DELETE FROM webhookrelay.attempts a
    USING ended
    WHERE a.webhook_id = ended.webhook_id AND a.event_id = ended.event_id
), queue AS (
    DELETE FROM webhookrelay.queue q
    USING ended
    WHERE q.webhook_id = ended.webhook_id AND q.sequence = ended.sequence AND q.ping = ended.ping
), forgotten AS (
    DELETE FROM webhookrelay.events e
    USING (
        SELECT old.event_id
        FROM old
        LEFT JOIN (SELECT ended.event_id, count(*) AS deliveries FROM ended GROUP BY ended.event_id) AS gone USING (event_id)
        -- Counted, because the planner takes the index for that whatever it believes about the table.
        WHERE (SELECT count(*) FROM webhookrelay.deliveries d WHERE d.event_id = old.event_id) = COALESCE(gone.deliveries, 0)
    ) AS empty
    WHERE e.event_id = empty.event_id
)
SELECT (SELECT count(*) FROM ended), last.created_at, last.event_id
FROM (SELECT) AS one
LEFT JOIN (SELECT * FROM old ORDER BY created_at DESC, event_id DESC LIMIT 1) AS last ON true
