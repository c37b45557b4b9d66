UPDATE projections.generations
SET serving = false, served_until = clock_timestamp()
WHERE model = $1 AND serving
RETURNING fresh_at
