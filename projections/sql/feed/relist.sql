-- Takes a namespace's approved claims out of the feed or back into it, notes that, and
-- changes the sets of just the services that have some of them.
WITH changed AS (
    UPDATE {schema}.claims
    SET listed = $3
    WHERE namespace = $1 AND position IS NOT NULL AND listed <> $3
    RETURNING *
), noted AS (
    INSERT INTO {schema}.changes (service_id, position, step, claim_id, added, namespace, public_key, service,
                                  subject, agent_id, agent_name, approved_at, expires_at, approval)
    SELECT service_id, $2, $4, claim_id, $3, namespace, public_key, service,
           subject, agent_id, agent_name, approved_at, expires_at, position
    FROM changed
), sets AS (
    SELECT service_id, CASE WHEN $3 THEN count(*) ELSE -count(*) END AS change
    FROM changed
    GROUP BY service_id
)
INSERT INTO {schema}.services (service_id, revision, claims)
SELECT n.service_id, $2, coalesce(s.claims, 0) + n.change
FROM sets n
LEFT JOIN {schema}.services s USING (service_id)
ON CONFLICT (service_id) DO UPDATE SET revision = excluded.revision, claims = excluded.claims
