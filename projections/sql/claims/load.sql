SELECT claim_id, namespace, service, status, auto_approved, approved_at
FROM {schema}.claims
WHERE claim_id = ANY ($1)
