-- What was delivered, answered with nothing but a status: most of all there is.
UPDATE webhookrelay.deliveries d
SET state = 'delivered', queued = false, ended_at = o.begun_at + o.took,
    attempts = o.attempts, begun_at = o.begun_at, took = o.took, status = o.status, response = NULL, error = NULL
FROM unnest($1::text[], $2::text[], $3::int[], $4::timestamptz[], $5::interval[], $6::int[])
    AS o (webhook_id, event_id, attempts, begun_at, took, status)
WHERE d.webhook_id = o.webhook_id AND d.event_id = o.event_id
