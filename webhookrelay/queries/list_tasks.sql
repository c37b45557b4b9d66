SELECT webhook_id, kind FROM webhookrelay.tasks ORDER BY webhook_id
