UPDATE projections.generations
SET state = $3
WHERE model = $1 AND generation = $2 AND NOT serving
