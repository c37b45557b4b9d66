CREATE INDEX claims_listed_order ON claims (service_id, position, claim_id) WHERE listed;
ALTER TABLE changes ADD CONSTRAINT changes_key PRIMARY KEY (service_id, position, step, claim_id);
