-- A delivery that was never put off needs no entry of its own in any list: those of a
-- webhook are made in the order of its sequence and attempted in that order, and what is
-- left to do is what comes after a number. Only what has to wait for something else than
-- its turn is in the queue. What it costs to deliver an event that arrives at once is then
-- a row, and a change in its place that no index sees.

-- Who attempts a webhook's deliveries, one relay at a time; empty: nobody. through: every
-- delivery up to this sequence has ended or is in the queue.
ALTER TABLE webhookrelay.endpoints
    ADD COLUMN through     bigint NOT NULL DEFAULT 0,
    ADD COLUMN owner       text   NOT NULL DEFAULT '',
    ADD COLUMN owned_until timestamptz,
    ADD CONSTRAINT endpoints_owned_until CHECK (owner = '' OR owned_until IS NOT NULL);

CREATE INDEX endpoints_owned ON webhookrelay.endpoints (owner) WHERE owner <> '';

-- Everything that was queued by a version before is in the queue below.
UPDATE webhookrelay.endpoints e SET through = w.next_sequence - 1
FROM webhookrelay.webhooks w WHERE w.webhook_id = e.webhook_id;

DROP TABLE webhookrelay.leases;

-- The webhooks that have deliveries beyond endpoints.through, and the last that was made.
CREATE TABLE webhookrelay.fresh (
    webhook_id    text   NOT NULL,
    last_sequence bigint NOT NULL,
    CONSTRAINT fresh_pkey PRIMARY KEY (webhook_id)
) WITH (fillfactor = 50);

-- What is delivered, once for all the webhooks that it goes to.
CREATE TABLE webhookrelay.events (
    event_id    text        NOT NULL,
    position    bigint      NOT NULL,
    event_type  text        NOT NULL,
    claim_id    text        NOT NULL,
    occurred_at timestamptz NOT NULL, -- when it happened
    created_at  timestamptz NOT NULL, -- when the row was made
    -- The body that is sent: this, the delivery's sequence and a closing brace. Of a ping,
    -- this alone.
    body        bytea       NOT NULL,
    CONSTRAINT events_pkey PRIMARY KEY (event_id)
);

CREATE INDEX events_created ON webhookrelay.events (created_at);

INSERT INTO webhookrelay.events (event_id, position, event_type, claim_id, occurred_at, created_at, body)
SELECT event_id, position, event_type, claim_id, occurred_at, created_at,
    CASE WHEN ping > 0 THEN body ELSE substr(body, 1, length(body) - length(sequence::text) - 1) END
FROM webhookrelay.deliveries
ON CONFLICT ON CONSTRAINT events_pkey DO NOTHING;

-- What waits for its time or for an earlier event of its claim, and what is dead and may be
-- sent again.
CREATE TABLE webhookrelay.queue (
    webhook_id text        NOT NULL,
    sequence   bigint      NOT NULL,
    ping       int         NOT NULL,
    event_id   text        NOT NULL,
    claim_id   text        NOT NULL,
    state      text        NOT NULL DEFAULT 'pending',
    due_at     timestamptz NOT NULL,
    failures   int         NOT NULL DEFAULT 0,     -- since it was queued: the place in the schedule
    again      boolean     NOT NULL DEFAULT false, -- its owner asked for it: what is new does not wait for it
    CONSTRAINT queue_pkey PRIMARY KEY (webhook_id, sequence, ping),
    CONSTRAINT queue_state_known CHECK (state IN ('pending', 'dead'))
);

CREATE INDEX queue_due ON webhookrelay.queue (webhook_id, due_at, sequence, ping) WHERE state = 'pending';
CREATE INDEX queue_retries ON webhookrelay.queue (webhook_id, due_at, sequence, ping) WHERE state = 'pending' AND failures > 0;
CREATE INDEX queue_of_claim ON webhookrelay.queue (webhook_id, claim_id, sequence) WHERE state = 'pending';
CREATE INDEX queue_again ON webhookrelay.queue (webhook_id) WHERE state = 'pending' AND again;
-- For the lists alone, which say that a sequence is not negative: to what looks for a claim's
-- it must not seem as good as queue_of_claim.
CREATE INDEX queue_pending ON webhookrelay.queue (webhook_id, sequence, ping) WHERE state = 'pending' AND sequence >= 0;
CREATE INDEX queue_dead ON webhookrelay.queue (webhook_id, sequence, ping) WHERE state = 'dead';

INSERT INTO webhookrelay.queue (webhook_id, sequence, ping, event_id, claim_id, state, due_at, failures, again)
SELECT webhook_id, sequence, ping, event_id, claim_id, state, due_at, failures, again
FROM webhookrelay.deliveries
WHERE state IN ('pending', 'dead');

ALTER TABLE webhookrelay.attempts DROP CONSTRAINT attempts_of_delivery;
ALTER TABLE webhookrelay.deliveries RENAME TO deliveries_before;
ALTER TABLE webhookrelay.deliveries_before RENAME CONSTRAINT deliveries_pkey TO deliveries_before_pkey;
ALTER TABLE webhookrelay.deliveries_before RENAME CONSTRAINT deliveries_place_once TO deliveries_before_place_once;

-- No index has a column that changes when a delivery ends, and each page has room for the
-- row as it will be: ending one is a change in its place.
CREATE TABLE webhookrelay.deliveries (
    webhook_id text        NOT NULL,
    event_id   text        NOT NULL,
    sequence   bigint      NOT NULL,
    ping       int         NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL, -- when the row was made
    state      text        NOT NULL DEFAULT 'pending',
    queued     boolean     NOT NULL DEFAULT false, -- pending, and in the queue
    attempts   int         NOT NULL DEFAULT 0,     -- ever
    ended_at   timestamptz,
    -- The last attempt, null where there was none. Those before it are in attempts.
    begun_at   timestamptz,
    took       interval,
    status     int,   -- 0: no answer came
    response   bytea, -- its first 4 KiB; null: there was nothing in it
    error      text,  -- null: it succeeded
    CONSTRAINT deliveries_pkey PRIMARY KEY (event_id, webhook_id),
    CONSTRAINT deliveries_place_once UNIQUE (webhook_id, sequence, ping),
    CONSTRAINT deliveries_state_known CHECK (state IN ('pending', 'delivered', 'dead', 'cancelled')),
    CONSTRAINT deliveries_ended_has_time CHECK ((state = 'pending') = (ended_at IS NULL)),
    CONSTRAINT deliveries_queued_is_pending CHECK (state = 'pending' OR NOT queued)
) WITH (fillfactor = 40);

INSERT INTO webhookrelay.deliveries
    (webhook_id, event_id, sequence, ping, created_at, state, queued, attempts, ended_at, begun_at, took, status, response, error)
SELECT d.webhook_id, d.event_id, d.sequence, d.ping, d.created_at, d.state, d.state = 'pending', d.attempts,
    CASE WHEN d.state <> 'pending' THEN d.due_at END,
    a.begun_at, a.took, a.status, NULLIF(a.response, ''), NULLIF(a.error, '')
FROM webhookrelay.deliveries_before d
LEFT JOIN webhookrelay.attempts a ON a.webhook_id = d.webhook_id AND a.event_id = d.event_id AND a.n = d.attempts;

DELETE FROM webhookrelay.attempts a
USING webhookrelay.deliveries d
WHERE d.webhook_id = a.webhook_id AND d.event_id = a.event_id AND d.attempts = a.n;

DROP TABLE webhookrelay.deliveries_before;
