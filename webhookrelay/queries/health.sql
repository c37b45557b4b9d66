-- The api may run before the relay of the same version has added the last column.
SELECT e.webhook_id, e.failure_count, e.last_triggered_at, e.last_failure_at,
    (to_jsonb(e) ->> 'failing_since')::timestamptz
FROM webhookrelay.endpoints e
WHERE e.webhook_id = ANY ($1)
