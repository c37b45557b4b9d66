SELECT webhook_id, failure_count, last_triggered_at, last_failure_at, failing_since
FROM webhookrelay.endpoints
WHERE webhook_id = ANY ($1)
