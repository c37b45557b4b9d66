-- What ended and is old is removed, the oldest first. due_at is when it ended.
CREATE INDEX deliveries_ended ON webhookrelay.deliveries (due_at) WHERE state <> 'pending';
