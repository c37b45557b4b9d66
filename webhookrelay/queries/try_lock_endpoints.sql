-- Whoever has an endpoint now is leasing its deliveries, and gets all it may.
SELECT webhook_id FROM webhookrelay.endpoints
WHERE webhook_id = ANY ($1)
FOR UPDATE SKIP LOCKED
