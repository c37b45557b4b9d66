-- Notes that the model holds everything that was in the log $5 seconds ago.
UPDATE projections.generations
SET fresh_at = greatest(fresh_at, clock_timestamp() - make_interval(secs => $5))
WHERE model = $1 AND generation = $2 AND position = $3 AND hash = $4 AND serving = $6
