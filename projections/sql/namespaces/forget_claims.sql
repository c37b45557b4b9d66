DELETE FROM {schema}.approved_claims
WHERE claim_id = ANY ($1)
