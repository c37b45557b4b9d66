
CROSS JOIN LATERAL (
    SELECT type
    FROM {schema}.events
    WHERE claim_id = s.claim_id AND position <= @position
    ORDER BY position DESC, index DESC
    LIMIT 1
) latest
