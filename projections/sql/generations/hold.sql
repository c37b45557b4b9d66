-- Keeps the generation of a model that serves where it is, until the transaction ends:
-- whoever takes it on has to wait.
SELECT generation, version, schema_name, serving, state, position, hash, fresh_at IS NOT NULL
FROM projections.generations
WHERE model = $1 AND serving
FOR UPDATE
