UPDATE webhookrelay.former_secrets f
SET secret_key_id = n.key_id, secret = n.secret
FROM unnest($2::timestamptz[], $3::text[], $4::bytea[]) AS n (until, key_id, secret)
WHERE f.webhook_id = $1 AND f.until = n.until
