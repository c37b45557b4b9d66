SELECT count(*)
FROM {schema}.events s{latest}
WHERE s.namespace = @namespace AND s.type = 'claim.submitted' AND s.position <= @position{conditions}
