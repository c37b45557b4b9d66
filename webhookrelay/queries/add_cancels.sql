-- What is in the queue is cancelled, and what never was from where it begins to the last.
INSERT INTO webhookrelay.tasks (webhook_id, kind, requeued, last_sequence)
SELECT n.webhook_id, $2, e.through, n.last_sequence
FROM unnest($1::text[], $3::bigint[]) AS n (webhook_id, last_sequence)
JOIN webhookrelay.endpoints e USING (webhook_id)
ON CONFLICT ON CONSTRAINT tasks_pkey DO UPDATE
    SET kind = EXCLUDED.kind, requeued = EXCLUDED.requeued, last_sequence = EXCLUDED.last_sequence, next_due = NULL
