-- The last sequence that a requeue is about: what came after the webhook was enabled does
-- not wait for what was missed. Null: a process of before made the task, and it is about all.
ALTER TABLE webhookrelay.tasks ADD COLUMN last_sequence bigint;
