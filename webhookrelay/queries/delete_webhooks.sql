-- The endpoints are locked in the order in which outcomes lock them.
WITH locked AS (
    SELECT webhook_id FROM webhookrelay.endpoints
    WHERE webhook_id = ANY ($1)
    ORDER BY webhook_id
    FOR UPDATE
), unlisted AS (
    DELETE FROM webhookrelay.fresh f USING locked WHERE f.webhook_id = locked.webhook_id
)
DELETE FROM webhookrelay.webhooks w USING locked WHERE w.webhook_id = locked.webhook_id
