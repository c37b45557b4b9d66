-- The running hash over all commits up to the checkpoint; one row.
CREATE TABLE chain (
    single  boolean DEFAULT true CONSTRAINT chain_key PRIMARY KEY CONSTRAINT chain_single CHECK (single),
    commits bigint NOT NULL CONSTRAINT chain_commits CHECK (commits >= 0),
    hash    bytea NOT NULL CONSTRAINT chain_hash CHECK (octet_length(hash) = 32)
);

COMMENT ON COLUMN chain.commits IS 'how many the hash is over';
COMMENT ON COLUMN chain.hash IS 'zeros: over none';

INSERT INTO chain (commits, hash) VALUES (0, decode(repeat('00', 32), 'hex'));
