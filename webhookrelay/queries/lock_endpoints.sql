SELECT webhook_id, owner, owned_until, through FROM webhookrelay.endpoints
WHERE webhook_id = ANY ($1)
ORDER BY webhook_id
FOR UPDATE
