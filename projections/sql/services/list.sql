SELECT s.service_id, s.namespace, s.slug, s.name, s.description, s.created_at, s.updated_at,
       (SELECT count(*) FROM {schema}.service_keys k WHERE k.service_id = s.service_id AND k.active)
FROM {schema}.services s
WHERE s.namespace = $1
ORDER BY s.position, s.service_id
LIMIT $2 OFFSET $3
