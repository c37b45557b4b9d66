UPDATE {schema}.claims c
SET approved_at = n.approved_at, expires_at = n.expires_at, position = n.position, listed = n.listed
FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::bigint[], $5::boolean[])
     AS n (claim_id, approved_at, expires_at, position, listed)
WHERE c.claim_id = n.claim_id
