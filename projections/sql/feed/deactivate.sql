INSERT INTO {schema}.inactive_namespaces (namespace)
VALUES ($1)
