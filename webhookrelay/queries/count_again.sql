SELECT count(*) FROM webhookrelay.deliveries WHERE webhook_id = $1 AND state = 'pending' AND again
