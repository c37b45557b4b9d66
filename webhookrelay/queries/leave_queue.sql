DELETE FROM webhookrelay.queue q
USING unnest($1::text[], $2::bigint[], $3::int[]) AS o (webhook_id, sequence, ping)
WHERE q.webhook_id = o.webhook_id AND q.sequence = o.sequence AND q.ping = o.ping
