-- The schemas of the generations that were built up to one of these commits.
SELECT schema_name
FROM projections.generations
WHERE (position, hash) IN (SELECT * FROM unnest($1::bigint[], $2::bytea[]))
