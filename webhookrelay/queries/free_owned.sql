-- What the process before had, which is dead.
UPDATE webhookrelay.endpoints SET owner = '', owned_until = NULL WHERE owner <> ''
