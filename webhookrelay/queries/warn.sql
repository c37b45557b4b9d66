UPDATE webhookrelay.endpoints SET warned_at = $2 WHERE webhook_id = $1 AND warned_at IS NULL
