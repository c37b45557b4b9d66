SELECT claim_id, namespace, public_key, service_id, service, subject, agent_id, agent_name,
       approved_at, expires_at, position
FROM {schema}.claims
WHERE service_id = $1 AND listed AND (position, claim_id) > ($2, $3)
ORDER BY position, claim_id
LIMIT $4 OFFSET $5
