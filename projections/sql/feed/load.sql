SELECT claim_id, namespace, service_id, position, listed
FROM {schema}.claims
WHERE claim_id = ANY ($1)
