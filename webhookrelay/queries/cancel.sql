-- A piece of what a webhook that was deleted has waiting: of the queue so many rows, and of
-- what is fresh so many numbers. Who writes an outcome is not waited for, and what he has is
-- left to the next time; he leaves the queue as it is. It says whether this did something,
-- and whether something is left. A task of a version before knows of no fresh ones, and
-- there are none.
WITH task AS (
    SELECT t.requeued AS begin, LEAST(t.requeued + $3::bigint, t.last_sequence) AS piece, t.last_sequence AS last
    FROM webhookrelay.tasks t
    WHERE t.webhook_id = $1 AND t.kind = 'cancel'
    FOR UPDATE SKIP LOCKED -- another relay is at it
), taken AS (
    SELECT q.webhook_id, q.event_id, q.sequence, q.ping FROM webhookrelay.queue q
    WHERE q.webhook_id = $1 AND q.state = 'pending' AND EXISTS (SELECT FROM task)
    LIMIT $3
    FOR UPDATE SKIP LOCKED
), waiting AS (
    SELECT taken.*
    FROM taken
    JOIN webhookrelay.deliveries d ON d.webhook_id = taken.webhook_id AND d.event_id = taken.event_id
    FOR UPDATE OF d SKIP LOCKED
), fresh AS (
    SELECT d.webhook_id, d.event_id
    FROM task
    JOIN webhookrelay.deliveries d ON d.webhook_id = $1 AND d.sequence > task.begin AND d.sequence <= task.piece
    WHERE d.state = 'pending'
    FOR UPDATE OF d SKIP LOCKED
), unqueued AS (
    DELETE FROM webhookrelay.queue q
    USING waiting
    WHERE q.webhook_id = waiting.webhook_id AND q.sequence = waiting.sequence AND q.ping = waiting.ping
), cancelled AS (
    UPDATE webhookrelay.deliveries d
    SET state = 'cancelled', queued = false, ended_at = $2
    FROM (SELECT waiting.webhook_id, waiting.event_id FROM waiting UNION ALL SELECT * FROM fresh) AS over
    WHERE d.webhook_id = over.webhook_id AND d.event_id = over.event_id AND d.state = 'pending'
), state AS (
    SELECT task.begin IS NOT NULL AND task.begin < task.last AS walking, task.piece,
        (SELECT count(*) FROM waiting) AS unqueued,
        (SELECT count(*) FROM fresh) AS unmade,
        (
            SELECT count(*) FROM (
                SELECT FROM webhookrelay.queue q WHERE q.webhook_id = $1 AND q.state = 'pending' LIMIT $3::bigint + 1
            ) AS counted
        ) AS queued,
        (
            SELECT count(*) FROM webhookrelay.deliveries d
            WHERE d.webhook_id = $1 AND d.sequence > task.begin AND d.sequence <= task.piece AND d.state = 'pending'
        ) AS unended,
        task.last
    FROM task
), moved AS (
    UPDATE webhookrelay.tasks t
    SET requeued = state.piece
    FROM state
    WHERE t.webhook_id = $1 AND state.walking AND state.unmade = state.unended
)
SELECT unqueued + unmade > 0 OR walking AND unmade = unended AS did,
    queued > unqueued OR walking AND (unmade < unended OR piece < last) AS remains
FROM state
