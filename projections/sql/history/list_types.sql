-- A part of each type by itself, and of these the page: each is read in order from its
-- own stretch of an index, however rare the type is. The planner, which does not know the
-- type, would rather read the whole ledger in order until it has enough of it: position + 0
-- is an order that no index has but the one by type.
SELECT e.*
FROM unnest(@types::text[]) AS wanted (type)
CROSS JOIN LATERAL (
    SELECT position, index, event_id, type, schema_version, namespace, boundary, claim_id,
           actor_kind, actor_id, actor_agent, time, commit_id, commit_version, prev, hash, data
    FROM {schema}.events
    WHERE {conditions} AND type = wanted.type
    ORDER BY position + 0 {order}, index {order}
    LIMIT @limit
) e
ORDER BY e.position {order}, e.index {order}
LIMIT @limit
