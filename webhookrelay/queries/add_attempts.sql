INSERT INTO webhookrelay.attempts (webhook_id, event_id, n, begun_at, took, status, response, error)
SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::timestamptz[], $5::interval[], $6::int[], $7::bytea[], $8::text[])
