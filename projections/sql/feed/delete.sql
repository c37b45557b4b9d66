DELETE FROM {schema}.claims
WHERE claim_id = ANY ($1)
