-- Where a replay begins: everything up to there is too old for it. It is found by halving, as
-- those of a webhook are in the order of the log. Clocks of the processes that wrote there
-- may differ; by an hour they do not.
WITH RECURSIVE search (low, high) AS (
    SELECT 0::bigint, $2::bigint
    UNION ALL
    SELECT CASE WHEN found.old THEN found.sequence ELSE search.low END, CASE WHEN found.old THEN search.high ELSE half.middle END
    FROM search
    CROSS JOIN LATERAL (SELECT (search.low + search.high) / 2 AS middle) AS half
    LEFT JOIN LATERAL (
        SELECT d.sequence, COALESCE(e.position < $3::bigint, e.occurred_at < $4::timestamptz - interval '1 hour') AS old
        FROM webhookrelay.deliveries d
        CROSS JOIN LATERAL (SELECT * FROM webhookrelay.events e WHERE e.event_id = d.event_id OFFSET 0) AS e
        WHERE d.webhook_id = $1 AND d.sequence > half.middle AND d.sequence <= search.high AND d.ping = 0
        ORDER BY d.sequence
        LIMIT 1
    ) AS found ON true
    WHERE search.low < search.high
)
SELECT max(low) FROM search
