INSERT INTO {schema}.service_keys (key_id, service_id, name, prefix, active, created_at, position)
VALUES ($1, $2, $3, $4, true, $5, $6)
