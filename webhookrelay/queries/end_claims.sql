DELETE FROM webhookrelay.claims WHERE claim_id = ANY ($1)
