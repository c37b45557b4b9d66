UPDATE {schema}.namespaces
SET owner = $2, active = $3, policy = $4, active_claims = $5
WHERE namespace = $1
