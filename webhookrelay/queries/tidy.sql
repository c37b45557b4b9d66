-- What an Idempotency-Key is remembered for is over, and secrets that sign no more.
WITH forgotten AS (
    DELETE FROM webhookrelay.requests WHERE done_at <= $1::timestamptz - interval '24 hours'
)
DELETE FROM webhookrelay.former_secrets WHERE until <= $1
