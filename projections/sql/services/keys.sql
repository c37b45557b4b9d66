SELECT key_id, service_id, name, prefix, active, created_at
FROM {schema}.service_keys
WHERE service_id = $1
ORDER BY position, key_id
LIMIT $2 OFFSET $3
