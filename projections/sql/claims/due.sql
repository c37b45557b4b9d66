SELECT namespace
FROM {schema}.claims
WHERE expires_at <= $1
GROUP BY namespace
ORDER BY min(expires_at), namespace
LIMIT $2
