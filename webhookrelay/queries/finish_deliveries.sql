-- A delivery that was cancelled while it was attempted, its webhook deleted, is delivered
-- all the same where it arrived.
UPDATE webhookrelay.deliveries d
SET state = CASE WHEN o.state = 'pending' AND d.state <> 'pending' THEN d.state ELSE o.state END,
    queued = o.state = 'pending' AND d.state = 'pending',
    ended_at = CASE WHEN o.state <> 'pending' THEN o.ended_at WHEN d.state <> 'pending' THEN d.ended_at END,
    attempts = o.attempts, begun_at = o.begun_at, took = o.took, status = o.status, response = o.response, error = NULLIF(o.error, '')
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::int[], $6::timestamptz[], $7::interval[], $8::int[], $9::bytea[], $10::text[])
    AS o (webhook_id, event_id, state, ended_at, attempts, begun_at, took, status, response, error)
WHERE d.webhook_id = o.webhook_id AND d.event_id = o.event_id
