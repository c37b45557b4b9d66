-- Where a namespace's commits from a time on begin. Only each boundary's times are in
-- the order of the positions.
SELECT coalesce(min(first.position), 9223372036854775807)
FROM (VALUES ('registry'), ('claims')) AS b (boundary)
CROSS JOIN LATERAL (
    SELECT position
    FROM {schema}.events
    WHERE namespace = @namespace AND boundary = b.boundary AND time >= @from_time
    ORDER BY time, position
    LIMIT 1
) first
