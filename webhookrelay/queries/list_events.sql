SELECT body FROM webhookrelay.deliveries
WHERE webhook_id = $1 AND sequence > $2 AND ping = 0
ORDER BY sequence
LIMIT $3
