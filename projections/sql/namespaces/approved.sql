SELECT claim_id, namespace
FROM {schema}.approved_claims
WHERE claim_id = ANY ($1)
