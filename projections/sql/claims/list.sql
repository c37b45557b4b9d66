SELECT claim_id, namespace, service_id, service, public_key, agent_ip, status,
       subject, agent_id, agent_name, reason, auto_approved,
       created_at, approved_at, rejected_at, revoked_at, expired_at, expires_at
FROM {schema}.claims
WHERE namespace = $1{conditions}
ORDER BY position DESC, claim_id
LIMIT $2 OFFSET $3
