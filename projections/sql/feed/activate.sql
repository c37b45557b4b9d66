DELETE FROM {schema}.inactive_namespaces
WHERE namespace = $1
