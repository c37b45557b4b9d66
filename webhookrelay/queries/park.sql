-- What is fresh and has to wait for an earlier event of its claim is due with that one. It may
-- be in the queue already, where it was put there and that was not heard.
WITH parked (webhook_id, sequence, ping, event_id, claim_id, due_at) AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::int[], $4::text[], $5::text[], $6::timestamptz[])
), entered AS (
    INSERT INTO webhookrelay.queue (webhook_id, sequence, ping, event_id, claim_id, due_at)
    SELECT * FROM parked
    ON CONFLICT ON CONSTRAINT queue_pkey DO NOTHING
)
UPDATE webhookrelay.deliveries d
SET queued = true
FROM parked
WHERE d.webhook_id = parked.webhook_id AND d.event_id = parked.event_id
