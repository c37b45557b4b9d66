-- What builds of a model were begun and not ended, the last one first.
SELECT generation, version, schema_name, serving, state, position, hash
FROM projections.generations
WHERE model = $1 AND state IN ('loading', 'indexed')
ORDER BY generation DESC
