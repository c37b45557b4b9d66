INSERT INTO {schema}.services (service_id, namespace, slug, name, description, created_at, updated_at, position)
VALUES ($1, $2, $3, $4, $5, $6, $6, $7)
