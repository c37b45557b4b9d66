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
    data           json NOT NULL, -- not jsonb, which would write it anew
    CONSTRAINT events_key PRIMARY KEY (position, index)
);

COMMENT ON COLUMN events.index IS 'of the event within its commit, from 0';
COMMENT ON COLUMN events.service IS 'slug of the service that a claim is submitted for; of other events none';
COMMENT ON COLUMN events.commit_version IS 'of the commit within its boundary';
COMMENT ON COLUMN events.prev IS 'hash of the commit before it in its boundary; zeros: none';

-- A page of a history is read from one of these three and no further than it is long.
CREATE INDEX events_of_namespace ON events (namespace, position, index);
-- By an expression, so that only a query that is ordered by it takes this index, and takes
-- no other: see list_types.sql.
CREATE INDEX events_of_type ON events (namespace, type, (position + 0), index);
CREATE INDEX events_of_claim ON events (claim_id, position, index) WHERE claim_id IS NOT NULL;

-- Within a boundary time never goes back: this finds the position where a time begins.
CREATE INDEX events_by_time ON events (namespace, boundary, time, position);
