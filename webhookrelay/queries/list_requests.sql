-- A replay that has all queued that it may have is left until something of it is done.
SELECT r.request_id, r.webhook_id FROM webhookrelay.requests r
WHERE r.done_at IS NULL
  AND (r.kind <> 'replay' OR $1 > (
    SELECT count(*) FROM webhookrelay.queue q
    WHERE q.webhook_id = r.webhook_id AND q.state = 'pending' AND q.again))
ORDER BY r.n
LIMIT 1000
