-- Unless it became another meanwhile.
DELETE FROM webhookrelay.tasks WHERE webhook_id = $1 AND kind = $2
