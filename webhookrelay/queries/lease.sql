-- Leases what is due of the endpoints that are locked, each up to its room, oldest
-- first. Of a claim's events only the first that is not finished can be leased, and what
-- is sent once more by request holds back nothing that is new. The earlier ones
-- are counted, because the planner takes the right index for that whatever it believes
-- about the table; NOT EXISTS it may turn into a join that reads all that is pending.
WITH picked AS (
    SELECT d.*
    FROM unnest($1::text[], $2::int[], $3::boolean[]) AS room (webhook_id, rows, retries_only)
    CROSS JOIN LATERAL (
        (
            SELECT p.* FROM webhookrelay.deliveries p
            WHERE NOT room.retries_only
              AND p.webhook_id = room.webhook_id AND p.state = 'pending' AND p.due_at <= $4
              AND NOT EXISTS (
                SELECT FROM webhookrelay.leases l
                WHERE l.webhook_id = p.webhook_id AND l.event_id = p.event_id AND l.leased_until > $4)
              AND (
                SELECT count(*) FROM webhookrelay.deliveries earlier
                WHERE earlier.webhook_id = p.webhook_id AND earlier.claim_id = p.claim_id
                  AND earlier.state = 'pending' AND earlier.sequence < p.sequence
                  AND (p.again OR NOT earlier.again)) = 0
            ORDER BY p.due_at, p.sequence
            LIMIT room.rows
        )
        UNION ALL
        (
            SELECT p.* FROM webhookrelay.deliveries p
            WHERE room.retries_only
              AND p.webhook_id = room.webhook_id AND p.state = 'pending' AND p.failures > 0 AND p.due_at <= $4
              AND NOT EXISTS (
                SELECT FROM webhookrelay.leases l
                WHERE l.webhook_id = p.webhook_id AND l.event_id = p.event_id AND l.leased_until > $4)
              AND (
                SELECT count(*) FROM webhookrelay.deliveries earlier
                WHERE earlier.webhook_id = p.webhook_id AND earlier.claim_id = p.claim_id
                  AND earlier.state = 'pending' AND earlier.sequence < p.sequence
                  AND (p.again OR NOT earlier.again)) = 0
            ORDER BY p.due_at, p.sequence
            LIMIT room.rows
        )
    ) AS d
), leased AS (
    INSERT INTO webhookrelay.leases (webhook_id, event_id, token, leased_until)
    SELECT webhook_id, event_id, $5, $6 FROM picked
    ON CONFLICT ON CONSTRAINT leases_pkey DO UPDATE
        SET token = EXCLUDED.token, leased_until = EXCLUDED.leased_until
        WHERE leases.leased_until <= $4
    RETURNING webhook_id, event_id
)
SELECT webhook_id, event_id, sequence, claim_id, event_type, body, occurred_at, attempts, failures, again
FROM picked JOIN leased USING (webhook_id, event_id)
ORDER BY due_at, sequence
