-- The server's clock is asked on both ends, so that no other matters.
SELECT request_id, webhook_id, kind, event_id, from_position, from_time, asked_at, replayed, replay_last,
    asked_at > now() - interval '1 minute' AS fresh
FROM webhookrelay.requests
WHERE request_id = $1 AND done_at IS NULL
FOR UPDATE SKIP LOCKED
