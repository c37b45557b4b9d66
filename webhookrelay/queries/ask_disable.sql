UPDATE webhookrelay.endpoints SET disable_asked_at = $2 WHERE webhook_id = $1
