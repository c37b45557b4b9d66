SELECT s.claim_id
FROM {schema}.events s{latest}
WHERE s.namespace = @namespace AND s.type = 'claim.submitted' AND s.position <= @position{conditions}
ORDER BY s.position DESC, s.claim_id
LIMIT @limit OFFSET @offset
