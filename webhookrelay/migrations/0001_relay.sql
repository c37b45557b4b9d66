-- The position in the log up to which deliveries are assigned, and the hash of the
-- commit there: a log that was replaced or cut must not be read on from.
CREATE TABLE webhookrelay.checkpoint (
    single   boolean NOT NULL DEFAULT true,
    position bigint  NOT NULL,
    hash     bytea   NOT NULL,
    CONSTRAINT checkpoint_pkey PRIMARY KEY (single),
    CONSTRAINT checkpoint_is_one_row CHECK (single),
    CONSTRAINT checkpoint_hash_of_a_commit CHECK (length(hash) = CASE WHEN position = 0 THEN 0 ELSE 32 END)
);

INSERT INTO webhookrelay.checkpoint (position, hash) VALUES (0, '');

-- The webhooks as the log has them. Only the assigner writes here.
CREATE TABLE webhookrelay.webhooks (
    webhook_id       text    NOT NULL,
    namespace        text    NOT NULL,
    service_id       text    NOT NULL,
    url              text    NOT NULL,
    events           text[]  NOT NULL,
    active           boolean NOT NULL,
    secret_key_id    text    NOT NULL,
    secret           bytea   NOT NULL, -- sealed
    auth_header      text    NOT NULL,
    auth_key_id      text,
    auth_value       bytea,            -- sealed
    next_sequence    bigint  NOT NULL DEFAULT 1,
    created_position bigint  NOT NULL,
    CONSTRAINT webhooks_pkey PRIMARY KEY (webhook_id),
    CONSTRAINT webhooks_sequence_from_one CHECK (next_sequence >= 1)
);

-- How each webhook's receiver is doing. It is apart from the webhooks so that
-- assigning never waits for outcomes, nor outcomes for assigning. Whoever changes the
-- deliveries of a webhook that exist already locks its row here first.
CREATE TABLE webhookrelay.endpoints (
    webhook_id        text   NOT NULL,
    failures          int    NOT NULL DEFAULT 0, -- since the last success
    paused_until      timestamptz,               -- for all but retries that are due
    gone_at           timestamptz,               -- it answered 410
    disable_asked_at  timestamptz,
    failure_count     bigint NOT NULL DEFAULT 0, -- ever
    last_triggered_at timestamptz,
    last_failure_at   timestamptz,
    CONSTRAINT endpoints_pkey PRIMARY KEY (webhook_id),
    CONSTRAINT endpoints_of_webhook FOREIGN KEY (webhook_id)
        REFERENCES webhookrelay.webhooks ON DELETE CASCADE
) WITH (fillfactor = 70); -- each outcome updates a row in place

CREATE INDEX endpoints_gone ON webhookrelay.endpoints (webhook_id) WHERE gone_at IS NOT NULL;

-- What was submitted, for the bodies of a claim's later events. Removed when the claim
-- has ended, because nothing can follow then.
CREATE TABLE webhookrelay.claims (
    claim_id   text NOT NULL,
    service_id text NOT NULL,
    service    text NOT NULL,
    public_key text NOT NULL,
    agent_ip   text NOT NULL,
    subject    text NOT NULL,
    agent_id   text NOT NULL,
    agent_name text NOT NULL,
    CONSTRAINT claims_pkey PRIMARY KEY (claim_id)
);

CREATE TABLE webhookrelay.deliveries (
    webhook_id   text        NOT NULL,
    event_id     text        NOT NULL,
    sequence     bigint      NOT NULL,
    position     bigint      NOT NULL,
    event_type   text        NOT NULL,
    claim_id     text        NOT NULL,
    body         bytea       NOT NULL,
    occurred_at  timestamptz NOT NULL, -- when it happened
    created_at   timestamptz NOT NULL, -- when the row was made
    state        text        NOT NULL DEFAULT 'pending',
    attempts     int         NOT NULL DEFAULT 0, -- ever
    failures     int         NOT NULL DEFAULT 0, -- since it was queued: the place in the schedule
    due_at       timestamptz NOT NULL,
    delivered_at timestamptz,
    CONSTRAINT deliveries_pkey PRIMARY KEY (webhook_id, event_id),
    CONSTRAINT deliveries_sequence_once UNIQUE (webhook_id, sequence),
    CONSTRAINT deliveries_state_known CHECK (state IN ('pending', 'delivered', 'dead', 'cancelled')),
    CONSTRAINT deliveries_delivered_has_time CHECK (state <> 'delivered' OR delivered_at IS NOT NULL)
);

-- Partial, so that finding work costs the same whatever was delivered before.
CREATE INDEX deliveries_due ON webhookrelay.deliveries (webhook_id, due_at, sequence) WHERE state = 'pending';
CREATE INDEX deliveries_retries ON webhookrelay.deliveries (webhook_id, due_at, sequence) WHERE state = 'pending' AND failures > 0;
CREATE INDEX deliveries_of_claim ON webhookrelay.deliveries (webhook_id, claim_id, sequence) WHERE state = 'pending';
CREATE INDEX deliveries_dead ON webhookrelay.deliveries (webhook_id, sequence) WHERE state = 'dead';

-- The right to attempt a delivery and to write what came of it. Small and apart from
-- the deliveries: a lease comes and goes without rewriting the body, and how much is
-- in flight for an endpoint is a count of a few rows.
CREATE TABLE webhookrelay.leases (
    webhook_id   text        NOT NULL,
    event_id     text        NOT NULL,
    token        text        NOT NULL, -- of the one who holds it
    leased_until timestamptz NOT NULL,
    -- No foreign key: checking it would write a lock into the delivery's row each time.
    CONSTRAINT leases_pkey PRIMARY KEY (webhook_id, event_id)
);

CREATE TABLE webhookrelay.attempts (
    webhook_id text        NOT NULL,
    event_id   text        NOT NULL,
    n          int         NOT NULL, -- from 1
    begun_at   timestamptz NOT NULL,
    took       interval    NOT NULL,
    status     int         NOT NULL, -- 0: no answer came
    response   bytea       NOT NULL, -- its first 4 KiB
    error      text        NOT NULL, -- empty: it succeeded
    CONSTRAINT attempts_pkey PRIMARY KEY (webhook_id, event_id, n),
    CONSTRAINT attempts_of_delivery FOREIGN KEY (webhook_id, event_id)
        REFERENCES webhookrelay.deliveries ON DELETE CASCADE
);

-- What is left to do for a webhook that was enabled again or deleted. It is done piece
-- by piece outside the assigner's transaction, because it may be millions of rows and
-- the other webhooks must not wait. While it is here, nothing is attempted.
CREATE TABLE webhookrelay.tasks (
    webhook_id text NOT NULL,
    kind       text NOT NULL,
    CONSTRAINT tasks_pkey PRIMARY KEY (webhook_id),
    CONSTRAINT tasks_kind_known CHECK (kind IN ('requeue', 'cancel'))
);
