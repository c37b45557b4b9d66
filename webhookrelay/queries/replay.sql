-- What is pending comes anyway.
WITH next AS (
    SELECT webhook_id, event_id, sequence FROM webhookrelay.deliveries
    WHERE webhook_id = $1 AND ping = 0 AND sequence > $2 AND sequence <= $3
      AND (position >= $4 OR occurred_at >= $5)
    ORDER BY sequence
    LIMIT $6
), queued AS (
    UPDATE webhookrelay.deliveries d
    SET state = 'pending', again = true, failures = 0, due_at = $7
    FROM next
    WHERE d.webhook_id = next.webhook_id AND d.event_id = next.event_id AND d.state IN ('delivered', 'dead')
)
SELECT max(sequence) FROM next
