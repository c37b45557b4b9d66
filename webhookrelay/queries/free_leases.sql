-- What the process before held, which is dead.
DELETE FROM webhookrelay.leases
