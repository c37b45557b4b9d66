-- How many relays are there, and how many webhooks they have.
SELECT
    (
        SELECT count(DISTINCT k.objid) FROM pg_locks k
        WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 2 AND k.classid = $1::int::oid
          AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
    ),
    (SELECT count(*) FROM webhookrelay.endpoints e WHERE e.owner <> '' AND e.owned_until > $2)
