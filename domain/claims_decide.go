package domain

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// ClaimCommand is a command on a claims boundary.
type ClaimCommand interface{ claimCommand() }

// Submit asks, on behalf of an agent, to use a service. The caller has checked who
// the service is: ServiceID, Service and ServiceNamespace come from its key.
type Submit struct {
	ClaimID          string // the id of the claim if this makes one
	ServiceID        string
	Service          string
	ServiceNamespace string
	PublicKey        string
	AgentIP          string
	Nonce            string
	Signer           string // the namespace that signed the request
	SignatureNonce   string
	Subject          string
	AgentID          string
	AgentName        string
}

// Approve lets the agent use the service, until ExpiresAt where that is set.
type Approve struct {
	ClaimID   string
	Reason    string
	ExpiresAt *time.Time
}

// Reject refuses a pending claim.
type Reject struct{ ClaimID, Reason string }

// Revoke takes an approval back.
type Revoke struct{ ClaimID, Reason string }

// Expire ends a pending or approved claim as expired.
type Expire struct{ ClaimID, Reason string }

// ExpireOverdue expires what is past its time, at most MaxExpiriesPerCommit claims.
type ExpireOverdue struct{}

func (Submit) claimCommand()        {}
func (Approve) claimCommand()       {}
func (Reject) claimCommand()        {}
func (Revoke) claimCommand()        {}
func (Expire) claimCommand()        {}
func (ExpireOverdue) claimCommand() {}

// Terms are what a decision about claims takes from the registry.
type Terms struct {
	RegistryVersion uint64
	Active          bool // whether the namespace is
	Policy          Policy
	// ServiceExists tells whether a service was not deleted.
	ServiceExists func(serviceID string) bool
}

// Basis is the part of the terms that is recorded.
func (t Terms) Basis() *Basis { return &Basis{t.RegistryVersion, t.Policy.Limits} }

// ClaimAnswer is what the caller of a claim command is told.
type ClaimAnswer struct {
	ClaimID        string `json:"claim_id"`
	Status         Status `json:"status"`
	Service        string `json:"service"`
	Message        string `json:"message"`
	Created        bool   `json:"created"` // a claim was made
	AgentsApproved int    `json:"agents_approved"`
	AgentsLimit    int    `json:"agents_limit"`
}

// ClaimDecision is the outcome of a command. Without payloads there is nothing to
// record: the answer rests on what is there already.
type ClaimDecision struct {
	Payloads []Payload
	Answer   ClaimAnswer
}

// Decide gives the events that a command leads to, or refuses it with an *Error. It
// changes nothing. now must not be before the last commit; use the later of the two.
//
// What is overdue is expired first, in the same commit: decisions rest on it. Where
// that is more than one commit may hold (Backlog), only ExpireOverdue is decided.
func (s *Claims) Decide(cmd ClaimCommand, ref CommandRef, terms Terms, now time.Time) (ClaimDecision, error) {
	d := &claimDecider{Claims: s, terms: terms, now: now}
	if sub, ok := cmd.(Submit); ok && s.signatureNonces.has(digestOf(sub.Signer, sub.SignatureNonce), now) {
		return ClaimDecision{}, Errorf(CodeSignatureNonceReplay, "This signature's nonce was used before.")
	}
	if answer, err := s.answers.recall(ref, now); err != nil || answer != nil {
		return recalled(answer, err)
	}
	if _, sweep := cmd.(ExpireOverdue); !sweep && s.Backlog(now) {
		return ClaimDecision{}, Errorf(CodeServiceUnavailable, "Claims that are past their time are being expired; try again.")
	}
	d.expireOverdue()
	switch cmd := cmd.(type) {
	case Submit:
		return d.submit(cmd)
	case Approve:
		return d.approve(cmd)
	case Reject:
		return d.end(cmd.ClaimID, []Status{StatusPending}, ClaimRejected{ClaimID: cmd.ClaimID, Reason: cmd.Reason}, StatusRejected)
	case Revoke:
		return d.end(cmd.ClaimID, []Status{StatusApproved}, ClaimRevoked{ClaimID: cmd.ClaimID, Reason: cmd.Reason}, StatusRevoked)
	case Expire:
		p := ClaimExpired{ClaimID: cmd.ClaimID, Cause: ExpiredByRequest, Reason: cmd.Reason}
		return d.end(cmd.ClaimID, []Status{StatusPending, StatusApproved}, p, StatusExpired)
	case ExpireOverdue:
		return ClaimDecision{Payloads: d.payloads}, nil
	}
	return ClaimDecision{}, fmt.Errorf("unknown claim command %T", cmd)
}

func recalled(answer json.RawMessage, err error) (ClaimDecision, error) {
	var d ClaimDecision
	if err == nil {
		err = json.Unmarshal(answer, &d.Answer)
	}
	return d, err
}

// claimDecider carries one decision: the state with what is overdue taken off.
type claimDecider struct {
	*Claims
	terms    Terms
	now      time.Time
	payloads []Payload

	agents, services map[uint32]int // approved claims that are overdue
	overduePending   int
}

func (d *claimDecider) expireOverdue() {
	for _, claim := range d.claims.overdue(d.now, MaxExpiriesPerCommit) {
		cause := ExpiredUndecided
		if d.claims.standings[claim].status == codeApproved {
			cause = ExpiredApproval
			if d.agents == nil {
				d.agents, d.services = map[uint32]int{}, map[uint32]int{}
			}
			d.agents[d.claims.agentOf(claim)]++
			d.services[d.claims.serviceOf(claim)]++
		} else {
			d.overduePending++
		}
		d.payloads = append(d.payloads, ClaimExpired{ClaimID: d.claims.id(claim), Cause: cause})
	}
}

func (d *claimDecider) decide(answer ClaimAnswer, payloads ...Payload) (ClaimDecision, error) {
	return ClaimDecision{append(d.payloads, payloads...), answer}, nil
}

func (d *claimDecider) submit(cmd Submit) (ClaimDecision, error) {
	if !d.terms.Active {
		return ClaimDecision{}, Errorf(CodeForbidden, "The namespace %s is not active.", d.namespace)
	}
	if d.nonces.has(digestOf(cmd.ServiceID, cmd.Nonce), d.now) {
		return ClaimDecision{}, Errorf(CodeNonceReplay, "This nonce was used before by this service in this namespace.")
	}
	if claim, ok := d.claims.latestOf(cmd.ServiceID, cmd.PublicKey); ok {
		if now := &d.claims.standings[claim]; now.active() && !now.overdue(d.now) {
			return ClaimDecision{Answer: ClaimAnswer{
				ClaimID: d.claims.id(claim), Status: now.status.status(), Service: d.claims.slug(claim),
				Message: fmt.Sprintf("This agent already has a claim on this service; it is %s.", now.status.status()),
			}}, nil
		}
	}
	submitted := ClaimSubmitted{
		ClaimID: cmd.ClaimID, ServiceID: cmd.ServiceID, ServiceNamespace: cmd.ServiceNamespace, Service: cmd.Service,
		PublicKey: cmd.PublicKey, AgentIP: cmd.AgentIP, Nonce: cmd.Nonce,
		Signer: cmd.Signer, SignatureNonce: cmd.SignatureNonce,
		Subject: cmd.Subject, AgentID: cmd.AgentID, AgentName: cmd.AgentName,
		ExpiresAt: d.terms.Policy.pendingUntil(d.now),
	}
	answer := ClaimAnswer{ClaimID: cmd.ClaimID, Service: cmd.Service, Created: true}

	if d.terms.Policy.Approves(cmd.ServiceID, cmd.AgentIP) && d.limitReached(cmd.ServiceID, cmd.PublicKey) == nil {
		answer.Status, answer.Message = StatusApproved, "Approved by the namespace's policy."
		return d.decide(answer, submitted, ClaimApproved{ClaimID: cmd.ClaimID, AutoApproved: true})
	}
	if n, most := d.pending-d.overduePending, d.terms.Policy.MaxPending; n >= most {
		reason := fmt.Sprintf("max_pending reached: %d claims are pending and the limit is %d", n, most)
		answer.Status, answer.Message = StatusRejected, "Rejected by the namespace's policy: "+reason+"."
		return d.decide(answer, submitted, ClaimRejected{ClaimID: cmd.ClaimID, Reason: reason, ByPolicy: true})
	}
	answer.Status, answer.Message = StatusPending, "The namespace's owner has been asked to decide."
	return d.decide(answer, submitted)
}

// limitReached says which limit stands in the way of approving a claim of the key on
// the service.
func (d *claimDecider) limitReached(service, key string) error {
	n, most := d.approvedAgents.without(d.agents), d.terms.Policy.MaxAgents
	if !d.hasApproved(key) && n >= most {
		return Errorf(CodeAgentLimitReached, "%d agents are approved in this namespace and the limit is %d.", n, most)
	}
	n, most = d.approvedServices.without(d.services), d.terms.Policy.MaxServices
	of, known := d.claims.services.number[service]
	if (!known || d.approvedServices.of(of) == d.services[of]) && n >= most {
		return Errorf(CodeServiceLimitReached, "%d services have an approved claim in this namespace and the limit is %d.", n, most)
	}
	return nil
}

// hasApproved reports whether the key has an approved claim that is not overdue.
func (d *claimDecider) hasApproved(key string) bool {
	agent, known := d.claims.agent(key)
	return known && d.approvedAgents.of(agent) != d.agents[agent]
}

// at finds the claim that a command is about, in one of the states.
func (d *claimDecider) at(id string, states []Status) (claim uint32, err error) {
	claim, ok := d.claims.find(id)
	if !ok {
		return 0, Errorf(CodeNotFound, "There is no such claim in this namespace.")
	}
	status := d.claims.standings[claim].statusAt(d.now)
	if !slices.Contains(states, status) {
		return 0, Errorf(CodeConflict, "The claim is %s.", status)
	}
	return claim, nil
}

func (d *claimDecider) approve(cmd Approve) (ClaimDecision, error) {
	until, err := d.approvedUntil(cmd.ExpiresAt)
	if err != nil {
		return ClaimDecision{}, err
	}
	claim, err := d.at(cmd.ClaimID, []Status{StatusPending})
	if err != nil {
		return ClaimDecision{}, err
	}
	service, key := d.claims.service(claim), d.claims.key(claim)
	if !d.terms.ServiceExists(service) {
		return ClaimDecision{}, Errorf(CodeConflict, "The service that the claim is for was deleted; the claim is %s.", StatusPending)
	}
	if err := d.limitReached(service, key); err != nil {
		return ClaimDecision{}, err
	}
	agents := d.approvedAgents.without(d.agents)
	if !d.hasApproved(key) {
		agents++
	}
	answer := ClaimAnswer{
		ClaimID: cmd.ClaimID, Status: StatusApproved, Service: d.claims.slug(claim),
		AgentsApproved: agents, AgentsLimit: d.terms.Policy.MaxAgents,
	}
	return d.decide(answer, ClaimApproved{ClaimID: cmd.ClaimID, Reason: cmd.Reason, ExpiresAt: until})
}

func (d *claimDecider) approvedUntil(asked *time.Time) (*time.Time, error) {
	if asked == nil {
		return nil, nil
	}
	const lastYear = 9999 // that RFC 3339 can write
	var v Violations
	until := storedTime(*asked)
	switch {
	case !until.After(d.now):
		v.Add("expires_at", "must be in the future")
	case until.Year() > lastYear:
		v.Add("expires_at", "must not be after the year 9999")
	}
	return &until, v.Err()
}

func (d *claimDecider) end(id string, from []Status, p Payload, to Status) (ClaimDecision, error) {
	claim, err := d.at(id, from)
	if err != nil {
		return ClaimDecision{}, err
	}
	return d.decide(ClaimAnswer{ClaimID: id, Status: to, Service: d.claims.slug(claim)}, p)
}

// Verdict answers whether an agent may use a service. Reason is set when it may not.
type Verdict struct {
	Authorized bool
	Reason     string
	ClaimID    string
	ServiceID  string
	ApprovedAt time.Time
	ExpiresAt  *time.Time
	Version    uint64 // of the commit that it rests on; 0: on there being none
}

// ReasonNoClaim is the verdict's reason where the agent never asked.
const ReasonNoClaim = "no_approved_claim"

// Verify tells whether the key may use the service now, from its latest claim on it.
func (s *Claims) Verify(serviceID, publicKey string, now time.Time) Verdict {
	claim, ok := s.claims.latestOf(serviceID, publicKey)
	if !ok {
		return Verdict{ServiceID: serviceID, Reason: ReasonNoClaim}
	}
	c := &s.claims.standings[claim]
	v := Verdict{ClaimID: s.claims.id(claim), ServiceID: serviceID, Version: c.version}
	if status := c.statusAt(now); status != StatusApproved {
		v.Reason = string(status)
		return v
	}
	v.Authorized, v.ApprovedAt, v.ExpiresAt = true, c.approvedAt.time(), c.end()
	return v
}

// ServicesOf lists the services on which the key has or had a claim, those of a slug
// where slug is not empty.
func (s *Claims) ServicesOf(publicKey, slug string) []string {
	agent, ok := s.claims.agent(publicKey)
	if !ok {
		return nil
	}
	var ids []string
	services, latest := s.claims.servicesOf(agent)
	for i, service := range services {
		if slug == "" || s.claims.slug(latest[i]) == slug {
			ids = append(ids, s.claims.services.list[service])
		}
	}
	return ids
}

// Has reports whether a claim with the id was ever submitted here.
func (s *Claims) Has(claimID string) bool {
	_, ok := s.claims.find(claimID)
	return ok
}

// Remembers reports whether the caller's idempotency key was used for a command here.
func (s *Claims) Remembers(ref CommandRef, now time.Time) bool { return s.answers.remembers(ref, now) }

// Time is when the last commit was made; the zero time where there is none.
func (s *Claims) Time() time.Time { return s.time }
