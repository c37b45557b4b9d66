INSERT INTO {schema}.management_keys (key_id, namespace, name, last_four, permissions, active, created_at, position)
VALUES ($1, $2, $3, $4, $5, true, $6, $7)
