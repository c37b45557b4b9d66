UPDATE webhookrelay.deliveries
SET state = 'pending', again = true, failures = 0, due_at = $3
WHERE webhook_id = $1 AND event_id = $2 AND state IN ('delivered', 'dead')
