SELECT namespace
FROM {schema}.events
WHERE claim_id = $1
ORDER BY position, index
LIMIT 1
