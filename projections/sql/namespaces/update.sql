UPDATE {schema}.namespaces
SET active = $2, policy = $3, active_claims = $4
WHERE namespace = $1
