UPDATE webhookrelay.requests SET replayed = $2, replay_last = $3 WHERE request_id = $1
