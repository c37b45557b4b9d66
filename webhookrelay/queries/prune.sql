-- Nobody waits for it, and it waits for nobody: what others are changing now is left for
-- the next time, and what is attempted for when its outcome is known. Attempts go with
-- their deliveries. due_at is when it ended.
DELETE FROM webhookrelay.deliveries d
USING (
    SELECT p.webhook_id, p.event_id FROM webhookrelay.deliveries p
    WHERE p.state <> 'pending' AND p.due_at < $1
      AND NOT EXISTS (SELECT FROM webhookrelay.leases l WHERE l.webhook_id = p.webhook_id AND l.event_id = p.event_id)
    ORDER BY p.due_at
    LIMIT $2
    FOR UPDATE OF p SKIP LOCKED
) AS old
WHERE d.webhook_id = old.webhook_id AND d.event_id = old.event_id
