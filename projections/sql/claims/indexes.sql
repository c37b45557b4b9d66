-- One index for each way to list a namespace's claims, newest first.
CREATE INDEX claims_newest ON claims (namespace, position DESC, claim_id);
CREATE INDEX claims_newest_by_status ON claims (namespace, status, position DESC, claim_id);
CREATE INDEX claims_newest_by_service ON claims (namespace, service, position DESC, claim_id);
CREATE INDEX claims_due ON claims (expires_at, namespace) WHERE expires_at IS NOT NULL;
