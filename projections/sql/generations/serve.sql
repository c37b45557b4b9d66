-- Makes a generation the one that serves, and tells who waits. It holds what the one
-- before it ($5: when that held everything) did.
WITH turned AS (
    UPDATE projections.generations
    SET serving = true, state = 'whole', served_until = NULL, fresh_at = greatest(fresh_at, $5)
    WHERE model = $1 AND generation = $2 AND position = $3 AND hash = $4 AND NOT serving
    RETURNING model, position
)
SELECT pg_notify($6, model || ' ' || position)
FROM turned
