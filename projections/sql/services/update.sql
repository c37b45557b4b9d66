UPDATE {schema}.services
SET name = $2, description = $3, updated_at = $4
WHERE service_id = $1
