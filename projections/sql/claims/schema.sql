-- Every claim that was ever submitted, in its present state. An empty text: not given.
CREATE TABLE claims (
    claim_id      text COLLATE "C" CONSTRAINT claims_key PRIMARY KEY,
    namespace     text COLLATE "C" NOT NULL,
    service_id    text COLLATE "C" NOT NULL,
    service       text COLLATE "C" NOT NULL,
    public_key    text COLLATE "C" NOT NULL,
    agent_ip      text NOT NULL,
    status        text COLLATE "C" NOT NULL
                  CONSTRAINT claims_status CHECK (status IN ('pending', 'approved', 'rejected', 'revoked', 'expired')),
    subject       text NOT NULL,
    agent_id      text NOT NULL,
    agent_name    text NOT NULL,
    reason        text NOT NULL,
    auto_approved boolean NOT NULL,
    created_at    timestamptz NOT NULL,
    approved_at   timestamptz,
    rejected_at   timestamptz,
    revoked_at    timestamptz,
    expired_at    timestamptz,
    expires_at    timestamptz,
    position      bigint NOT NULL,
    CONSTRAINT claims_expiry CHECK (expires_at IS NULL OR status IN ('pending', 'approved'))
);

COMMENT ON COLUMN claims.reason IS 'given with the last decision';
COMMENT ON COLUMN claims.expires_at IS 'when the present state ends by itself';
COMMENT ON COLUMN claims.position IS 'of the commit that submitted it';

-- How many claims there are of each sort. Lists say how long they are, and counting a
-- million rows for a page of fifty would take longer than the page.
CREATE TABLE claim_counts (
    namespace text COLLATE "C" NOT NULL,
    service   text COLLATE "C" NOT NULL,
    status    text COLLATE "C" NOT NULL,
    claims    bigint NOT NULL CONSTRAINT claim_counts_claims CHECK (claims >= 0),
    CONSTRAINT claim_counts_key PRIMARY KEY (namespace, service, status)
);
