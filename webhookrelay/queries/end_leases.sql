-- Only who still holds the lease may write an outcome: if it ran out and another took
-- it over, the delivery is the other's to finish.
DELETE FROM webhookrelay.leases l
USING unnest($1::text[], $2::text[], $3::text[]) AS o (webhook_id, event_id, token)
WHERE l.webhook_id = o.webhook_id AND l.event_id = o.event_id AND l.token = o.token
RETURNING l.webhook_id, l.event_id
