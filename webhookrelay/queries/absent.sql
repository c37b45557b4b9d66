-- Who has webhooks, was seen when it took them, and is not there; and who asks, if it is not
-- seen.
SELECT holding.owner
FROM (
    SELECT DISTINCT split_part(substr(e.owner, 2), '/', 1) AS owner
    FROM webhookrelay.endpoints e
    WHERE e.owner <> '' AND left(e.owner, 1) = $1
    UNION SELECT $2
) AS holding
WHERE NOT EXISTS (
    SELECT FROM pg_locks k
    WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
      AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
      AND k.classid::bigint << 32 | k.objid::bigint = hashtextextended('claimledger webhook relay ' || holding.owner, 0)
)
