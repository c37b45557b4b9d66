INSERT INTO webhookrelay.tasks (webhook_id, kind, last_sequence)
SELECT n.webhook_id, $2, max(n.last_sequence)
FROM unnest($1::text[], $3::bigint[]) AS n (webhook_id, last_sequence)
GROUP BY n.webhook_id
ON CONFLICT ON CONSTRAINT tasks_pkey DO UPDATE
    SET kind = EXCLUDED.kind, last_sequence = EXCLUDED.last_sequence, requeued = NULL, next_due = NULL
    WHERE tasks.kind <> 'cancel'
