DELETE FROM {schema}.claim_counts
WHERE claims = 0
  AND (namespace, service, status) IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))
