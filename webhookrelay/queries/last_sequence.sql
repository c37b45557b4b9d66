SELECT next_sequence - 1 FROM webhookrelay.webhooks WHERE webhook_id = $1
