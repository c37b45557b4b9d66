SELECT webhook_id, failure_count, last_triggered_at, last_failure_at
FROM webhookrelay.endpoints
WHERE webhook_id = ANY ($1)
