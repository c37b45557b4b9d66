-- An update also where there is a row: whoever is about to remove it, because all that it
-- speaks of is done, then sees that there is more.
INSERT INTO webhookrelay.fresh (webhook_id, last_sequence)
SELECT * FROM unnest($1::text[], $2::bigint[])
ON CONFLICT ON CONSTRAINT fresh_pkey DO UPDATE SET last_sequence = EXCLUDED.last_sequence
