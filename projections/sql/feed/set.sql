SELECT revision, claims
FROM {schema}.services
WHERE service_id = $1
