UPDATE webhookrelay.deliveries d
SET state = o.state, attempts = o.attempts, failures = o.failures, due_at = o.due_at,
    again = d.again AND o.state = 'pending',
    delivered_at = CASE WHEN o.state = 'delivered' THEN o.ended_at END
FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::int[], $6::timestamptz[], $7::timestamptz[])
    AS o (webhook_id, event_id, state, attempts, failures, due_at, ended_at)
WHERE d.webhook_id = o.webhook_id AND d.event_id = o.event_id
