-- What is being changed now, its owner is changing: it is there after all. And who has come
-- back since it was looked for keeps what it has.
WITH gone AS MATERIALIZED (
    SELECT n.owner FROM unnest($1::text[]) AS n (owner)
    WHERE NOT EXISTS (
        SELECT FROM pg_locks k
        WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
          AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
          AND k.classid::bigint << 32 | k.objid::bigint = hashtextextended('claimledger webhook relay ' || n.owner, 0))
)
UPDATE webhookrelay.endpoints e
SET owner = '', owned_until = NULL
FROM (
    SELECT p.webhook_id FROM webhookrelay.endpoints p
    WHERE p.owner <> '' AND split_part(substr(p.owner, 2), '/', 1) IN (SELECT gone.owner FROM gone)
    FOR UPDATE OF p SKIP LOCKED
) AS held
WHERE e.webhook_id = held.webhook_id
