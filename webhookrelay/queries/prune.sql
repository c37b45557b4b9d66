-- Nobody waits for it, and it waits for nobody: what others are changing now is left for
-- the next time. Attempts go with their deliveries.
DELETE FROM webhookrelay.deliveries d
USING (
    SELECT webhook_id, event_id FROM webhookrelay.deliveries
    WHERE state <> 'pending' AND created_at < $1
    ORDER BY created_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
) AS old
WHERE d.webhook_id = old.webhook_id AND d.event_id = old.event_id
