-- Forgets the changes up to a position, and notes how far each service's are forgotten.
WITH gone AS (
    DELETE FROM {schema}.changes
    WHERE position <= $1
    RETURNING service_id, position
), last AS (
    SELECT service_id, max(position) AS position
    FROM gone
    GROUP BY service_id
)
UPDATE {schema}.services s
SET forgotten = last.position
FROM last
WHERE s.service_id = last.service_id
