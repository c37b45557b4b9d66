UPDATE webhookrelay.endpoints
SET failures = 0, paused_until = NULL, gone_at = NULL, disable_asked_at = NULL
WHERE webhook_id = $1
