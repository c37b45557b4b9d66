UPDATE {schema}.claims c
SET status = n.status, reason = n.reason, auto_approved = n.auto_approved,
    approved_at = n.approved_at, rejected_at = n.rejected_at, revoked_at = n.revoked_at,
    expired_at = n.expired_at, expires_at = n.expires_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::timestamptz[], $6::timestamptz[],
            $7::timestamptz[], $8::timestamptz[], $9::timestamptz[])
     AS n (claim_id, status, reason, auto_approved, approved_at, rejected_at, revoked_at, expired_at, expires_at)
WHERE c.claim_id = n.claim_id
