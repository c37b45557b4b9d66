-- Moves the checkpoint, unless someone else did, or the generation serves no more, or
-- does by now. $7 is how many seconds ago the log held nothing more than this; null: it
-- is not known. The notification leaves with the commit.
WITH moved AS (
    UPDATE projections.generations
    SET position = $5, hash = $6,
        fresh_at = greatest(fresh_at, clock_timestamp() - make_interval(secs => $7))
    WHERE model = $1 AND generation = $2 AND position = $3 AND hash = $4 AND serving = $9
    RETURNING model, position, serving
)
SELECT CASE WHEN serving THEN pg_notify($8, model || ' ' || position) END
FROM moved
