SELECT q.sequence, q.ping FROM webhookrelay.queue q
WHERE q.webhook_id = $1 AND (q.sequence, q.ping) < ($2, $3) AND q.state = 'dead'
ORDER BY q.sequence DESC, q.ping DESC
LIMIT $4
