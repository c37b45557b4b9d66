-- The claims that are pending or approved, with what the feed shows of them.
CREATE TABLE claims (
    claim_id    text COLLATE "C" CONSTRAINT claims_key PRIMARY KEY,
    service_id  text COLLATE "C" NOT NULL,
    namespace   text COLLATE "C" NOT NULL,
    public_key  text COLLATE "C" NOT NULL,
    service     text COLLATE "C" NOT NULL,
    subject     text NOT NULL,
    agent_id    text NOT NULL,
    agent_name  text NOT NULL,
    approved_at timestamptz,
    expires_at  timestamptz,
    position    bigint,
    listed      boolean NOT NULL,
    CONSTRAINT claims_approval CHECK ((approved_at IS NULL) = (position IS NULL)),
    CONSTRAINT claims_listed CHECK (NOT listed OR position IS NOT NULL)
);

COMMENT ON COLUMN claims.expires_at IS 'when the approval ends by itself';
COMMENT ON COLUMN claims.position IS 'of the commit that approved it; null: pending';
COMMENT ON COLUMN claims.listed IS 'whether it is in the approved set: approved, in an active namespace';

CREATE INDEX claims_approved ON claims (namespace) WHERE position IS NOT NULL;

-- A service's approved set: when it last changed, and how many claims are in it.
CREATE TABLE services (
    service_id text COLLATE "C" CONSTRAINT services_key PRIMARY KEY,
    revision   bigint NOT NULL,
    claims     bigint NOT NULL CONSTRAINT services_claims CHECK (claims >= 0),
    forgotten  bigint NOT NULL DEFAULT 0
);

COMMENT ON COLUMN services.revision IS 'position of the last commit that changed the set';
COMMENT ON COLUMN services.forgotten IS 'position of the last change of the set that is not kept any more; 0: all are';

-- What entered and left the approved sets lately, in the order (position, step, claim_id).
-- A claim stays as it was shown when the change happened.
CREATE TABLE changes (
    service_id  text COLLATE "C" NOT NULL,
    position    bigint NOT NULL,
    step        integer NOT NULL,
    claim_id    text COLLATE "C" NOT NULL,
    added       boolean NOT NULL,
    namespace   text COLLATE "C" NOT NULL,
    public_key  text COLLATE "C" NOT NULL,
    service     text COLLATE "C" NOT NULL,
    subject     text NOT NULL,
    agent_id    text NOT NULL,
    agent_name  text NOT NULL,
    approved_at timestamptz NOT NULL,
    expires_at  timestamptz,
    approval    bigint NOT NULL
);

COMMENT ON COLUMN changes.position IS 'of the commit that changed the set';
COMMENT ON COLUMN changes.step IS 'order of what one commit changed';
COMMENT ON COLUMN changes.approval IS 'position of the commit that approved the claim';

CREATE INDEX changes_age ON changes (position);

CREATE TABLE inactive_namespaces (
    namespace text COLLATE "C" CONSTRAINT inactive_namespaces_key PRIMARY KEY
);
