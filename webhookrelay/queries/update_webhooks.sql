UPDATE webhookrelay.webhooks w
SET active = n.active, next_sequence = n.next_sequence
FROM unnest($1::text[], $2::boolean[], $3::bigint[]) AS n (webhook_id, active, next_sequence)
WHERE w.webhook_id = n.webhook_id
