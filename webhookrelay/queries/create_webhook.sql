WITH created AS (
    INSERT INTO webhookrelay.webhooks (webhook_id, namespace, service_id, url, events, active,
        secret_key_id, secret, auth_header, auth_key_id, auth_value, created_position)
    VALUES ($1, $2, $3, $4, $5, true, $6, $7, $8, $9, $10, $11)
    RETURNING webhook_id
)
INSERT INTO webhookrelay.endpoints (webhook_id) SELECT webhook_id FROM created
