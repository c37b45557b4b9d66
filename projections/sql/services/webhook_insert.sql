INSERT INTO {schema}.webhooks (webhook_id, service_id, url, events, description, auth_header, active, created_at, position)
VALUES ($1, $2, $3, $4, $5, $6, true, $7, $8)
