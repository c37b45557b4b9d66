INSERT INTO webhookrelay.requests (request_id, webhook_id, kind, fingerprint, event_id, from_position, from_time)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT ON CONSTRAINT requests_pkey DO NOTHING
