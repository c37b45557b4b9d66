UPDATE {schema}.management_keys
SET active = false
WHERE key_id = $1
