SELECT namespace
FROM {schema}.inactive_namespaces
WHERE namespace = ANY ($1)
