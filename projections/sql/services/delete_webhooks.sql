DELETE FROM {schema}.webhooks
WHERE service_id = $1
