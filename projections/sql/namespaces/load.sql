SELECT namespace, owner, active, policy::text, active_claims
FROM {schema}.namespaces
WHERE namespace = ANY ($1)
