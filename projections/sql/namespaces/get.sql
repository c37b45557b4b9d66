SELECT owner, created_at, active, policy, active_claims
FROM {schema}.namespaces
WHERE namespace = $1
