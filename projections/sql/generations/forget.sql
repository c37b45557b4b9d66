-- A generation whose schema was dropped is gone.
DELETE FROM projections.generations g
WHERE NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = g.schema_name)
