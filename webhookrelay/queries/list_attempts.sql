SELECT event_id, n, begun_at, took, status, response, error
FROM (
    SELECT * FROM webhookrelay.attempts
    WHERE webhook_id = $1 AND event_id = $2
    ORDER BY n DESC
    LIMIT $3
) AS last
ORDER BY n
