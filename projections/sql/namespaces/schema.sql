CREATE TABLE namespaces (
    namespace     text COLLATE "C" CONSTRAINT namespaces_key PRIMARY KEY,
    owner         text NOT NULL,
    created_at    timestamptz NOT NULL,
    active        boolean NOT NULL,
    policy        json,
    active_claims bigint NOT NULL CONSTRAINT namespaces_active_claims CHECK (active_claims >= 0)
);

COMMENT ON COLUMN namespaces.policy IS 'null: never changed';
COMMENT ON COLUMN namespaces.active_claims IS 'approved claims';

-- Which claims are counted in active_claims: the event that ends a claim does not
-- always tell whether it was approved.
CREATE TABLE approved_claims (
    claim_id  text COLLATE "C" CONSTRAINT approved_claims_key PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL
);
