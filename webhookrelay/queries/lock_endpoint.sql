-- And whether a relay has the webhook's deliveries.
SELECT owner <> '' AND owned_until > $2 FROM webhookrelay.endpoints
WHERE webhook_id = $1
FOR UPDATE
