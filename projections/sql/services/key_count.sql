SELECT count(*)
FROM {schema}.service_keys
WHERE service_id = $1
