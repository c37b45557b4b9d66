-- Takes the webhooks that nobody has, but for those that somebody is changing. One whose token
-- begins with $5 the caller has and does not know: it did not hear that it was taken, or the
-- server forgot that it was given back.
WITH free AS (
    SELECT e.webhook_id FROM webhookrelay.endpoints e
    WHERE e.webhook_id = ANY ($1) AND (e.owner = '' OR e.owned_until <= $2 OR starts_with(ltrim(e.owner, '@'), $5))
    FOR UPDATE SKIP LOCKED
)
UPDATE webhookrelay.endpoints e
SET owner = $3, owned_until = $4
FROM free
WHERE e.webhook_id = free.webhook_id
RETURNING e.webhook_id, e.through, e.failures, e.paused_until
