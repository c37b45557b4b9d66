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
), kept AS (
    SELECT d.event_id
    FROM old
    JOIN webhookrelay.deliveries d USING (event_id)
    LEFT JOIN ended ON ended.event_id = d.event_id AND ended.webhook_id = d.webhook_id
    WHERE ended.event_id IS NULL
), forgotten AS (
    DELETE FROM webhookrelay.events e
    USING old
    WHERE e.event_id = old.event_id AND old.event_id NOT IN (SELECT kept.event_id FROM kept)
)
SELECT (SELECT count(*) FROM ended), last.created_at, last.event_id
FROM (SELECT) AS one
LEFT JOIN (SELECT * FROM old ORDER BY created_at DESC, event_id DESC LIMIT 1) AS last ON true
