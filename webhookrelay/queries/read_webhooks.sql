SELECT webhook_id, service_id, events, active, next_sequence FROM webhookrelay.webhooks
