SELECT g.model, g.generation, g.version, g.schema_name, g.serving, g.state, g.position, g.created_at, g.served_until,
       coalesce((SELECT sum(pg_total_relation_size(c.oid))
                 FROM pg_class c
                 JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = g.schema_name AND c.relkind = 'r'), 0)::bigint AS bytes
FROM projections.generations g
ORDER BY g.model, g.generation
