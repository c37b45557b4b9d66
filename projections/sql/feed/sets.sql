INSERT INTO {schema}.services (service_id, revision, claims)
SELECT n.service_id, n.revision, coalesce(s.claims, 0) + n.change
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS n (service_id, revision, change)
LEFT JOIN {schema}.services s USING (service_id)
ON CONFLICT (service_id) DO UPDATE SET revision = excluded.revision, claims = excluded.claims
