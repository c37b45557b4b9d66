SELECT count(*)
FROM {schema}.services
WHERE namespace = $1
