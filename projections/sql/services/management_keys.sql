SELECT key_id, name, last_four, permissions, active, created_at
FROM {schema}.management_keys
WHERE namespace = $1
ORDER BY position, key_id
