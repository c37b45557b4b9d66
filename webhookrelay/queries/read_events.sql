SELECT event_id, event_type, claim_id, occurred_at, body FROM webhookrelay.events WHERE event_id = ANY ($1)
