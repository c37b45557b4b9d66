UPDATE {schema}.claims
SET approved_at = $2, expires_at = $3, position = $4, listed = $5
WHERE claim_id = $1
