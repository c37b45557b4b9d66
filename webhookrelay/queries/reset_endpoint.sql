UPDATE webhookrelay.endpoints
SET failures = 0, paused_until = NULL, gone_at = NULL, disable_asked_at = NULL, failing_since = NULL, warned_at = NULL
WHERE webhook_id = $1
