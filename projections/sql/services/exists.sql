SELECT EXISTS (SELECT FROM {schema}.services WHERE namespace = $1 AND service_id = $2)
