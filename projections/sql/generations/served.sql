SELECT generation, version, schema_name, serving, state, position, hash, fresh_at IS NOT NULL
FROM projections.generations
WHERE model = $1 AND serving
