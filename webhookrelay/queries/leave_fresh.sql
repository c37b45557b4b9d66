DELETE FROM webhookrelay.fresh f
USING unnest($1::text[], $2::bigint[]) AS o (webhook_id, through)
WHERE f.webhook_id = o.webhook_id AND f.last_sequence <= o.through
