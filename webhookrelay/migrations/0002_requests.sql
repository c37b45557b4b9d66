-- Secrets that a webhook had. Each signs beside the present one until its end.
CREATE TABLE webhookrelay.former_secrets (
    webhook_id    text        NOT NULL,
    until         timestamptz NOT NULL,
    secret_key_id text        NOT NULL,
    secret        bytea       NOT NULL, -- sealed
    CONSTRAINT former_secrets_pkey PRIMARY KEY (webhook_id, until),
    CONSTRAINT former_secrets_of_webhook FOREIGN KEY (webhook_id)
        REFERENCES webhookrelay.webhooks ON DELETE CASCADE
);

-- A ping has no sequence of its own: it stands after the event that was the last when
-- it was asked for, and is the how-manieth there. 0: it is an event.
ALTER TABLE webhookrelay.deliveries
    ADD COLUMN ping int NOT NULL DEFAULT 0,
    ADD CONSTRAINT deliveries_place_once UNIQUE (webhook_id, sequence, ping),
    DROP CONSTRAINT deliveries_sequence_once;

-- It is queued once more because the owner asked for it. What comes anew does not wait
-- for it.
ALTER TABLE webhookrelay.deliveries ADD COLUMN again boolean NOT NULL DEFAULT false;

CREATE INDEX deliveries_again ON webhookrelay.deliveries (webhook_id) WHERE state = 'pending' AND again;

-- What owners ask for, in the order in which it is done. The api may add rows here and
-- nothing else, and a relay does what they say. They are kept for a while when they are
-- done, so that a request that is repeated is not done twice.
CREATE TABLE webhookrelay.requests (
    n             bigint      GENERATED ALWAYS AS IDENTITY,
    request_id    text        NOT NULL,
    webhook_id    text        NOT NULL,
    kind          text        NOT NULL,
    fingerprint   bytea       NOT NULL, -- of the whole request: the same id with another is a mistake
    event_id      text        NOT NULL DEFAULT '', -- redeliver: which
    from_position bigint,                          -- replay: from one of the two on
    from_time     timestamptz,
    asked_at      timestamptz NOT NULL DEFAULT now(),
    replayed      bigint      NOT NULL DEFAULT 0,  -- up to which sequence
    replay_last   bigint,                          -- the last one to replay, once begun
    done_at       timestamptz,
    CONSTRAINT requests_pkey PRIMARY KEY (request_id),
    CONSTRAINT requests_kind_known CHECK (kind IN ('redeliver', 'replay', 'ping')),
    CONSTRAINT requests_redeliver_one CHECK ((kind = 'redeliver') = (event_id <> '')),
    CONSTRAINT requests_replay_from CHECK (num_nonnulls(from_position, from_time) = CASE WHEN kind = 'replay' THEN 1 ELSE 0 END)
);

CREATE INDEX requests_open ON webhookrelay.requests (n) WHERE done_at IS NULL;
CREATE INDEX requests_done ON webhookrelay.requests (done_at) WHERE done_at IS NOT NULL;

-- Where deploy/postgres/roles.sql was run, the api is another role than the owner of
-- this table. A role that comes later is given this by that file.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'claimledger_api') THEN
        GRANT INSERT ON webhookrelay.requests TO claimledger_api;
    END IF;
END
$$;
