SELECT webhook_id, service_id, url, events, description, auth_header, active, created_at
FROM {schema}.webhooks
WHERE service_id = $1
ORDER BY position, webhook_id
