SELECT position FROM webhookrelay.checkpoint
