INSERT INTO {schema}.claim_counts (namespace, service, status, claims)
SELECT n.namespace, n.service, n.status, coalesce(c.claims, 0) + n.change
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS n (namespace, service, status, change)
LEFT JOIN {schema}.claim_counts c USING (namespace, service, status)
ON CONFLICT (namespace, service, status) DO UPDATE SET claims = excluded.claims
