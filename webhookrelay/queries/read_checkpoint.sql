SELECT position, hash FROM webhookrelay.checkpoint
