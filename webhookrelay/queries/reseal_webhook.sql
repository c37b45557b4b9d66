UPDATE webhookrelay.webhooks
SET secret_key_id = $2, secret = $3, auth_key_id = $4, auth_value = $5
WHERE webhook_id = $1
