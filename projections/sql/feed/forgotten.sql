SELECT forgotten
FROM {schema}.services
WHERE service_id = $1
