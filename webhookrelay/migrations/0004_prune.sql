-- What ended and is old is removed, the oldest first.
CREATE INDEX deliveries_ended ON webhookrelay.deliveries (created_at) WHERE state <> 'pending';
