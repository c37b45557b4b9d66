DELETE FROM {schema}.service_keys
WHERE key_id = $1
