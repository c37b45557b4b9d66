DELETE FROM {schema}.webhooks
WHERE webhook_id = $1
