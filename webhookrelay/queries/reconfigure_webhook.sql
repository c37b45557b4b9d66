UPDATE webhookrelay.webhooks
SET url = $2, events = $3, auth_header = $4, auth_key_id = $5, auth_value = $6
WHERE webhook_id = $1
