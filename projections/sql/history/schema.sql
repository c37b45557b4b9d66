-- One row for each event, as it was recorded. Of the registry's events the data is kept
-- without the hashes and the sealed secrets.
CREATE TABLE events (
    position       bigint NOT NULL,
    index          integer NOT NULL,
    event_id       text COLLATE "C" NOT NULL,
    type           text COLLATE "C" NOT NULL,
    schema_version integer NOT NULL,
    namespace      text COLLATE "C" NOT NULL,
    boundary       text COLLATE "C" NOT NULL CONSTRAINT events_boundary CHECK (boundary IN ('registry', 'claims')),
    claim_id       text COLLATE "C",
    service        text COLLATE "C",
    actor_kind     text COLLATE "C" NOT NULL,
    actor_id       text NOT NULL,
    actor_agent    text NOT NULL,
    time           timestamptz NOT NULL,
    commit_id      text COLLATE "C" NOT NULL,
    commit_version bigint NOT NULL,
    prev           bytea NOT NULL,
    hash           bytea NOT NULL,
    data           json NOT NULL -- not jsonb, which would write it anew
);

COMMENT ON COLUMN events.index IS 'of the event within its commit, from 0';
COMMENT ON COLUMN events.service IS 'slug of the service that a claim is submitted for; of other events none';
COMMENT ON COLUMN events.commit_version IS 'of the commit within its boundary';
COMMENT ON COLUMN events.prev IS 'hash of the commit before it in its boundary; zeros: none';
