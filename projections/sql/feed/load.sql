SELECT claim_id, namespace, public_key, service_id, service, subject, agent_id, agent_name,
       approved_at, expires_at, position, listed
FROM {schema}.claims
WHERE claim_id = ANY ($1)
