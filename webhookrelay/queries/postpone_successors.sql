-- What waits for a delivery of its claim is due with it, see add_deliveries.sql.
UPDATE webhookrelay.deliveries d
SET due_at = o.due_at
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::boolean[])
    AS o (webhook_id, claim_id, sequence, due_at, again)
WHERE d.webhook_id = o.webhook_id AND d.claim_id = o.claim_id AND d.state = 'pending'
  AND d.sequence > o.sequence AND d.due_at < o.due_at AND (d.again OR NOT o.again)
