-- Since when every attempt has failed; null while the last one succeeded. warned_at is
-- when that was said, once before the webhook is disabled for it.
ALTER TABLE webhookrelay.endpoints
    ADD COLUMN failing_since timestamptz,
    ADD COLUMN warned_at timestamptz;

CREATE INDEX endpoints_failing ON webhookrelay.endpoints (failing_since) WHERE failing_since IS NOT NULL;
