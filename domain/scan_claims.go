package domain

// The events of claims as they are written: nearly all events are theirs.

func scanSubmitted(s *scanner) (p ClaimSubmitted) {
	s.must(`{"claim_id":`)
	p.ClaimID = s.text()
	s.must(`,"service_id":`)
	p.ServiceID = s.text()
	s.must(`,"service_namespace":`)
	p.ServiceNamespace = s.text()
	s.must(`,"service":`)
	p.Service = s.text()
	s.must(`,"public_key":`)
	p.PublicKey = s.text()
	s.must(`,"agent_ip":`)
	p.AgentIP = s.text()
	s.must(`,"nonce":`)
	p.Nonce = s.text()
	s.must(`,"signer":`)
	p.Signer = s.text()
	s.must(`,"signature_nonce":`)
	p.SignatureNonce = s.text()
	p.Subject = s.optional(`,"subject":`)
	p.AgentID = s.optional(`,"agent_id":`)
	p.AgentName = s.optional(`,"agent_name":`)
	p.ExpiresAt = s.optionalTime(`,"pending_expires_at":`)
	s.must("}")
	return p
}

func scanApproved(s *scanner) (p ClaimApproved) {
	s.must(`{"claim_id":`)
	p.ClaimID = s.text()
	p.Reason = s.optional(`,"reason":`)
	p.ExpiresAt = s.optionalTime(`,"expires_at":`)
	p.AutoApproved = s.has(`,"auto_approved":true`)
	s.must("}")
	return p
}

func scanRejected(s *scanner) (p ClaimRejected) {
	s.must(`{"claim_id":`)
	p.ClaimID = s.text()
	p.Reason = s.optional(`,"reason":`)
	p.ByPolicy = s.has(`,"by_policy":true`)
	s.must("}")
	return p
}

func scanRevoked(s *scanner) (p ClaimRevoked) {
	s.must(`{"claim_id":`)
	p.ClaimID = s.text()
	p.Reason = s.optional(`,"reason":`)
	s.must("}")
	return p
}

func scanExpired(s *scanner) (p ClaimExpired) {
	s.must(`{"claim_id":`)
	p.ClaimID = s.text()
	s.must(`,"cause":`)
	p.Cause = ExpiryCause(s.text())
	p.Reason = s.optional(`,"reason":`)
	s.must("}")
	return p
}
