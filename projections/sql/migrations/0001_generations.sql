-- One row for each generation of a read model that exists. Its tables are in a schema
-- of its own, and this row, its checkpoint, moves in the transactions that change them.
CREATE TABLE generations (
    model       text COLLATE "C" NOT NULL,
    generation  integer NOT NULL CONSTRAINT generations_number CHECK (generation > 0),
    version     integer NOT NULL CONSTRAINT generations_version CHECK (version > 0),
    schema_name text COLLATE "C" NOT NULL CONSTRAINT generations_schema UNIQUE,
    serving     boolean NOT NULL,
    position    bigint NOT NULL CONSTRAINT generations_position CHECK (position >= 0),
    hash        bytea NOT NULL CONSTRAINT generations_hash CHECK (octet_length(hash) = 32),
    fresh_at    timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT generations_key PRIMARY KEY (model, generation)
) WITH (fillfactor = 20); -- it is updated many times a second: leave room for that in the page

COMMENT ON COLUMN generations.serving IS 'whether readers use it; one for each model';
COMMENT ON COLUMN generations.position IS 'of the last commit applied; 0: none';
COMMENT ON COLUMN generations.hash IS 'of the last commit applied; zeros: none';
COMMENT ON COLUMN generations.fresh_at IS 'when it last held everything in the log';

CREATE UNIQUE INDEX generations_serving ON generations (model) WHERE serving;
