SELECT fingerprint FROM webhookrelay.requests WHERE request_id = $1
