SELECT position, index, event_id, type, schema_version, namespace, boundary, claim_id,
       actor_kind, actor_id, actor_agent, time, commit_id, commit_version, prev, hash, data
FROM {schema}.events
WHERE {conditions}
ORDER BY position {order}, index {order}
LIMIT @limit
