-- What is kept is read before it is replaced.
WITH former AS (
    INSERT INTO webhookrelay.former_secrets (webhook_id, until, secret_key_id, secret)
    SELECT webhook_id, $2, secret_key_id, secret FROM webhookrelay.webhooks WHERE webhook_id = $1
    ON CONFLICT ON CONSTRAINT former_secrets_pkey DO NOTHING
)
UPDATE webhookrelay.webhooks SET secret_key_id = $3, secret = $4 WHERE webhook_id = $1
