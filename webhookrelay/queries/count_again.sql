SELECT count(*) FROM webhookrelay.queue WHERE webhook_id = $1 AND state = 'pending' AND again
