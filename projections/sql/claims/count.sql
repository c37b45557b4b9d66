SELECT coalesce(sum(claims), 0)::bigint
FROM {schema}.claim_counts
WHERE namespace = $1 AND ($2 = '' OR status = $2) AND ($3 = '' OR service = $3)
