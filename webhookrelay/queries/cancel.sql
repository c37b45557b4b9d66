WITH queued AS (
    SELECT p.webhook_id, p.event_id FROM webhookrelay.deliveries p
    WHERE p.webhook_id = $1 AND p.state = 'pending'
      AND NOT EXISTS (
        SELECT FROM webhookrelay.leases l
        WHERE l.webhook_id = p.webhook_id AND l.event_id = p.event_id AND l.leased_until > $2)
    LIMIT $3
), over AS ( -- of processes that are gone: what they still have to say does not count any more
    DELETE FROM webhookrelay.leases l
    USING queued
    WHERE l.webhook_id = queued.webhook_id AND l.event_id = queued.event_id
)
UPDATE webhookrelay.deliveries d
SET state = 'cancelled', due_at = $2
FROM queued
WHERE d.webhook_id = queued.webhook_id AND d.event_id = queued.event_id
