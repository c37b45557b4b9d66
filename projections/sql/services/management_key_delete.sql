DELETE FROM {schema}.management_keys
WHERE key_id = $1
