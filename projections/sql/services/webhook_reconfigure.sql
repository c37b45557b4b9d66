UPDATE {schema}.webhooks
SET url = $2, events = $3, description = $4, auth_header = $5
WHERE webhook_id = $1
