DELETE FROM projections.generations
WHERE model = $1 AND generation = $2 AND NOT serving
RETURNING schema_name
