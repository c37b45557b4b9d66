-- What is dead, waits for a retry, or waits behind one, is due now, with all its retries
-- before it. What is in flight is left to its outcome.
WITH late AS (
    (SELECT webhook_id, event_id, sequence FROM webhookrelay.deliveries
     WHERE webhook_id = $1 AND state = 'dead' AND ping = 0 ORDER BY sequence LIMIT $3)
    UNION
    (SELECT webhook_id, event_id, sequence FROM webhookrelay.deliveries
     WHERE webhook_id = $1 AND state = 'pending' AND failures > 0 ORDER BY due_at LIMIT $3)
    UNION
    (SELECT webhook_id, event_id, sequence FROM webhookrelay.deliveries
     WHERE webhook_id = $1 AND state = 'pending' AND due_at > $2 ORDER BY due_at LIMIT $3)
)
UPDATE webhookrelay.deliveries d
SET state = 'pending', failures = 0, due_at = $2
FROM late
WHERE d.webhook_id = late.webhook_id AND d.event_id = late.event_id
  AND NOT EXISTS (
    SELECT FROM webhookrelay.leases l
    WHERE l.webhook_id = d.webhook_id AND l.event_id = d.event_id AND l.leased_until > $2)
