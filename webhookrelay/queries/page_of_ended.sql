SELECT d.sequence, d.ping FROM webhookrelay.deliveries d
WHERE d.webhook_id = $1 AND (d.sequence, d.ping) < ($2, $3) AND d.state = {which}
ORDER BY d.sequence DESC, d.ping DESC
LIMIT $4
