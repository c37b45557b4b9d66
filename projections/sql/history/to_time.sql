-- Where a namespace's commits up to a time end.
SELECT coalesce(max(last.position), 0)
FROM (VALUES ('registry'), ('claims')) AS b (boundary)
CROSS JOIN LATERAL (
    SELECT position
    FROM {schema}.events
    WHERE namespace = @namespace AND boundary = b.boundary AND time <= @to_time
    ORDER BY time DESC, position DESC
    LIMIT 1
) last
