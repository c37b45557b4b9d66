UPDATE webhookrelay.requests SET done_at = $2 WHERE request_id = $1
