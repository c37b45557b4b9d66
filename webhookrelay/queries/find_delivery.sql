SELECT sequence, ping FROM webhookrelay.deliveries
WHERE webhook_id = $1 AND event_id = $2
