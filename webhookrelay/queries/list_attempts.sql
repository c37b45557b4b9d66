-- Those before one, which is in the delivery's row.
SELECT n, begun_at, took, status, response, error
FROM (
    SELECT * FROM webhookrelay.attempts
    WHERE webhook_id = $1 AND event_id = $2 AND n < $3
    ORDER BY n DESC
    LIMIT $4
) AS last
ORDER BY n
