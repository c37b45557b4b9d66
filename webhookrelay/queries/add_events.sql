INSERT INTO webhookrelay.events (event_id, position, event_type, claim_id, occurred_at, body, created_at)
SELECT n.event_id, n.position, n.event_type, n.claim_id, n.occurred_at, n.body, $7
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::timestamptz[], $6::bytea[])
    AS n (event_id, position, event_type, claim_id, occurred_at, body)
