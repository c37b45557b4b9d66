INSERT INTO webhookrelay.tasks (webhook_id, kind)
SELECT DISTINCT webhook_id, $2 FROM unnest($1::text[]) AS n (webhook_id)
ON CONFLICT ON CONSTRAINT tasks_pkey DO UPDATE
    SET kind = EXCLUDED.kind, requeued = NULL, next_due = NULL
    WHERE tasks.kind <> 'cancel'
