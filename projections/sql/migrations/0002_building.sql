-- Generations are built beside the one that serves, and kept after it.
ALTER TABLE generations
    ADD COLUMN state text COLLATE "C" NOT NULL DEFAULT 'whole'
        CONSTRAINT generations_state CHECK (state IN ('loading', 'indexed', 'different', 'whole')),
    ADD COLUMN served_until timestamptz,
    ADD CONSTRAINT generations_serves_whole CHECK (state = 'whole' OR NOT serving);

COMMENT ON COLUMN generations.state IS
    'loading: it lacks the indexes that only readers need; indexed: it has all its tables and indexes, and was not compared yet; '
    'different: its rows were not those of the generation that served; whole: it serves, or did';
COMMENT ON COLUMN generations.served_until IS 'when another took its place; null: it serves, or never did';
