-- The generation of a model that served before the one that does, if it is kept.
SELECT generation, version, schema_name, serving, state, position, hash
FROM projections.generations
WHERE model = $1 AND state = 'whole' AND NOT serving
ORDER BY served_until DESC NULLS LAST, generation DESC
LIMIT 1
