-- Takes the webhooks that nobody has, but for those that somebody is changing.
WITH free AS (
    SELECT e.webhook_id FROM webhookrelay.endpoints e
    WHERE e.webhook_id = ANY ($1) AND (e.owner = '' OR e.owned_until <= $2)
    FOR UPDATE SKIP LOCKED
)
UPDATE webhookrelay.endpoints e
SET owner = $3, owned_until = $4
FROM free
WHERE e.webhook_id = free.webhook_id
RETURNING e.webhook_id, e.through, e.failures, e.paused_until
