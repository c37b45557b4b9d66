SELECT generation, version, schema_name, position, hash,
       (extract(epoch FROM clock_timestamp() - fresh_at) * 1000000)::bigint AS age_microseconds
FROM projections.generations
WHERE model = $1 AND serving
