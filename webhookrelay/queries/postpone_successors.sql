-- What waits for a delivery of its claim is due with it.
UPDATE webhookrelay.queue q
SET due_at = o.due_at
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::boolean[])
    AS o (webhook_id, claim_id, sequence, due_at, again)
WHERE q.webhook_id = o.webhook_id AND q.claim_id = o.claim_id AND q.state = 'pending'
  AND q.sequence > o.sequence AND q.due_at < o.due_at AND (q.again OR NOT o.again)
