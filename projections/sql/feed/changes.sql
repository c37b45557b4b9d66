SELECT position, added, claim_id, namespace, public_key, service_id, service, subject, agent_id, agent_name,
       approved_at, expires_at, approval
FROM {schema}.changes
WHERE service_id = $1 AND position > $2
ORDER BY position, step, claim_id
LIMIT $3
