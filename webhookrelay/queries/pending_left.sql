SELECT EXISTS (SELECT FROM webhookrelay.deliveries WHERE webhook_id = $1 AND state = 'pending')
