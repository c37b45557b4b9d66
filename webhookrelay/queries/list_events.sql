SELECT e.body || convert_to(d.sequence || '}', 'UTF8')
FROM (
    SELECT event_id, sequence FROM webhookrelay.deliveries
    WHERE webhook_id = $1 AND sequence > $2 AND ping = 0
    ORDER BY sequence
    LIMIT $3
) AS d
CROSS JOIN LATERAL (SELECT body FROM webhookrelay.events WHERE event_id = d.event_id OFFSET 0) AS e
ORDER BY d.sequence
