SELECT coalesce(max(last.position), 0)
FROM (
    SELECT position
    FROM {schema}.events
    WHERE namespace = $1 AND boundary = 'claims' AND time <= $2
    ORDER BY time DESC, position DESC
    LIMIT 1
) last
