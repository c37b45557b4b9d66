INSERT INTO webhookrelay.deliveries (webhook_id, event_id, sequence, created_at)
SELECT n.webhook_id, n.event_id, n.sequence, $4
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS n (webhook_id, event_id, sequence)
