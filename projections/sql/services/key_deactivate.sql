UPDATE {schema}.service_keys
SET active = false
WHERE key_id = $1
