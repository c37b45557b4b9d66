-- A delivery that must wait for an earlier one of its claim is due with that one: due
-- before, it would be looked at in vain each time. OFFSET 0 keeps the planner from
-- searching the maximum in the index by due time, through all that is pending.
INSERT INTO webhookrelay.deliveries
    (webhook_id, event_id, sequence, position, event_type, claim_id, body, occurred_at, created_at, due_at)
SELECT n.webhook_id, n.event_id, n.sequence, n.position, n.event_type, n.claim_id, n.body, n.occurred_at, $9,
    GREATEST($9::timestamptz, (
        SELECT max(waiting.due_at) FROM (
            SELECT d.due_at FROM webhookrelay.deliveries d
            WHERE d.webhook_id = n.webhook_id AND d.claim_id = n.claim_id AND d.state = 'pending' AND NOT d.again
            OFFSET 0
        ) AS waiting
    ))
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::bytea[], $8::timestamptz[])
    AS n (webhook_id, event_id, sequence, position, event_type, claim_id, body, occurred_at)
