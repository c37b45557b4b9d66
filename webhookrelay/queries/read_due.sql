-- What is due of the webhooks that the caller has: of the queue, those that are retries
-- alone where it is to be only these, and what is fresh after a sequence. With what is fresh
-- comes when it can be attempted where an earlier event of its claim is in the queue; what
-- is sent once more by request holds nothing back. Where nothing is in the queue, that is not
-- looked for.
SELECT mine.webhook_id, d.event_id, d.sequence, d.ping, d.attempts, d.queued, d.failures, d.again, d.waits_until
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::int[], $5::int[], $6::boolean[])
    AS mine (webhook_id, owner, after, fresh_rows, queue_rows, retries_only)
JOIN webhookrelay.endpoints e USING (webhook_id, owner)
CROSS JOIN LATERAL (
    (
        SELECT p.event_id, q.sequence, q.ping, p.attempts, true AS queued, q.failures, q.again, NULL::timestamptz AS waits_until
        FROM webhookrelay.queue q
        JOIN webhookrelay.deliveries p USING (webhook_id, sequence, ping)
        WHERE mine.queue_rows > 0 AND NOT mine.retries_only
          AND q.webhook_id = mine.webhook_id AND q.state = 'pending' AND q.due_at <= $7
        ORDER BY q.due_at, q.sequence, q.ping
        LIMIT mine.queue_rows
    )
    UNION ALL
    (
        SELECT p.event_id, q.sequence, q.ping, p.attempts, true, q.failures, q.again, NULL
        FROM webhookrelay.queue q
        JOIN webhookrelay.deliveries p USING (webhook_id, sequence, ping)
        WHERE mine.queue_rows > 0 AND mine.retries_only
          AND q.webhook_id = mine.webhook_id AND q.state = 'pending' AND q.failures > 0 AND q.due_at <= $7
        ORDER BY q.due_at, q.sequence, q.ping
        LIMIT mine.queue_rows
    )
    UNION ALL
    (
        SELECT p.event_id, p.sequence, p.ping, p.attempts, false, 0, false, CASE WHEN waiting.there THEN (
            SELECT max(earlier.due_at) FROM (
                SELECT q.due_at FROM webhookrelay.queue q
                WHERE q.webhook_id = p.webhook_id AND q.state = 'pending' AND NOT q.again AND q.sequence < p.sequence
                  AND q.claim_id = (SELECT v.claim_id FROM webhookrelay.events v WHERE v.event_id = p.event_id)
                OFFSET 0
            ) AS earlier
        ) END
        FROM (
            SELECT EXISTS (SELECT FROM webhookrelay.queue q WHERE q.webhook_id = mine.webhook_id AND q.state = 'pending') AS there
            WHERE mine.fresh_rows > 0
            OFFSET 0
        ) AS waiting
        CROSS JOIN webhookrelay.deliveries p
        WHERE mine.fresh_rows > 0
          AND p.webhook_id = mine.webhook_id AND p.sequence > mine.after AND p.state = 'pending' AND NOT p.queued
        ORDER BY p.sequence
        LIMIT mine.fresh_rows
    )
) AS d
