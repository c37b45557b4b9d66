-- What waits for a retry, or is dead.
INSERT INTO webhookrelay.queue (webhook_id, sequence, ping, event_id, claim_id, state, due_at, failures, again)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::int[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::int[], $9::boolean[])
ON CONFLICT ON CONSTRAINT queue_pkey DO UPDATE
    SET state = EXCLUDED.state, due_at = EXCLUDED.due_at, failures = EXCLUDED.failures, again = EXCLUDED.again
