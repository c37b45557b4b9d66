ALTER TABLE events ADD CONSTRAINT events_key PRIMARY KEY (position, index);

-- A page of a history is read from one of these three and no further than it is long.
CREATE INDEX events_of_namespace ON events (namespace, position, index);
-- By an expression, so that only a query that is ordered by it takes this index, and takes
-- no other: see list_types.sql.
CREATE INDEX events_of_type ON events (namespace, type, (position + 0), index);
CREATE INDEX events_of_claim ON events (claim_id, position, index) WHERE claim_id IS NOT NULL;

-- Within a boundary time never goes back: this finds the position where a time begins.
CREATE INDEX events_by_time ON events (namespace, boundary, time, position);
