SELECT service_id
FROM {schema}.services
WHERE service_id = ANY ($1) AND revision > $2
