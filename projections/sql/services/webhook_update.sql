UPDATE {schema}.webhooks
SET active = $2
WHERE webhook_id = $1
