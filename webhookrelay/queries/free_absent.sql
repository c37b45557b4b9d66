-- What is being changed now, its holder is changing: it is there after all.
DELETE FROM webhookrelay.leases l
USING (
    SELECT p.webhook_id, p.event_id FROM webhookrelay.leases p
    WHERE split_part(substr(p.token, 2), '/', 1) = ANY ($1)
    FOR UPDATE OF p SKIP LOCKED
) AS held
WHERE l.webhook_id = held.webhook_id AND l.event_id = held.event_id
