-- How far a requeue has come: the sequence up to which it is done, and when the next
-- delivery is due. Null: it has not begun.
ALTER TABLE webhookrelay.tasks
    ADD COLUMN requeued bigint,
    ADD COLUMN next_due timestamptz;
