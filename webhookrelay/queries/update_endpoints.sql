-- Failures that are further apart than retries are say nothing of the time between them. Who
-- gives a webhook back has owned_until null.
UPDATE webhookrelay.endpoints e
SET failures = o.failures, paused_until = o.paused_until, gone_at = COALESCE(e.gone_at, o.gone_at),
    failure_count = e.failure_count + o.failed,
    last_triggered_at = GREATEST(e.last_triggered_at, o.last_triggered_at),
    last_failure_at = GREATEST(e.last_failure_at, o.last_failure_at),
    failing_since = CASE
        WHEN o.failing_since IS NOT NULL AND (o.recovered OR e.failing_since IS NULL OR e.last_failure_at < o.failing_since - $12::interval)
            THEN o.failing_since
        WHEN NOT o.recovered THEN e.failing_since
    END,
    warned_at = CASE WHEN NOT o.recovered AND (o.failing_since IS NULL OR e.last_failure_at >= o.failing_since - $12::interval) THEN e.warned_at END,
    through = GREATEST(e.through, o.through),
    owner = CASE WHEN o.owned_until IS NULL THEN '' ELSE e.owner END, owned_until = o.owned_until
FROM unnest($1::text[], $2::int[], $3::timestamptz[], $4::timestamptz[], $5::int[], $6::timestamptz[], $7::timestamptz[], $8::boolean[], $9::timestamptz[],
        $10::bigint[], $11::timestamptz[])
    AS o (webhook_id, failures, paused_until, gone_at, failed, last_triggered_at, last_failure_at, recovered, failing_since, through, owned_until)
WHERE e.webhook_id = o.webhook_id
