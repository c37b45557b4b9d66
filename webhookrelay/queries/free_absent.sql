-- What is being changed now, its holder is changing: it is there after all. And who has come
-- back since it was looked for keeps its leases.
WITH gone AS MATERIALIZED (
    SELECT n.owner FROM unnest($1::text[]) AS n (owner)
    WHERE NOT EXISTS (
        SELECT FROM pg_locks k
        WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
          AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
          AND k.classid::bigint << 32 | k.objid::bigint = hashtextextended('claimledger webhook relay ' || n.owner, 0))
)
DELETE FROM webhookrelay.leases l
USING (
    SELECT p.webhook_id, p.event_id FROM webhookrelay.leases p
    WHERE split_part(substr(p.token, 2), '/', 1) IN (SELECT gone.owner FROM gone)
    FOR UPDATE OF p SKIP LOCKED
) AS held
WHERE l.webhook_id = held.webhook_id AND l.event_id = held.event_id
