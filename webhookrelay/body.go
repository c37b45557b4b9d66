package webhookrelay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// publicNames are what receivers know the events as. What is not here is no webhook's
// business.
var publicNames = map[domain.EventType]string{
	domain.ClaimSubmittedType: "request.submitted",
	domain.ClaimApprovedType:  "request.approved",
	domain.ClaimRejectedType:  "request.rejected",
	domain.ClaimRevokedType:   "request.revoked",
	domain.ClaimExpiredType:   "request.expired",
}

// pingEvent is what receivers know a ping as.
const pingEvent = "ping"

// body is what is sent. The order of the fields and the form of the values are public:
// receivers may keep hashes of bodies.
type body struct {
	Event     string    `json:"event"`
	Timestamp time.Time `json:"timestamp"` // when it happened
	Data      bodyData  `json:"data"`
	ID        string    `json:"id"`
	Position  string    `json:"position"` // text, because it may outgrow JavaScript's numbers
	Sequence  int64     `json:"sequence"` // the last, see encode; 0 here
}

type bodyData struct {
	ClaimID      string     `json:"claim_id"`
	Namespace    string     `json:"namespace"`
	Service      string     `json:"service"`
	PublicKey    string     `json:"public_key"`
	AgentIP      string     `json:"agent_ip"`
	Subject      string     `json:"subject,omitempty"`
	AgentID      string     `json:"agent_id,omitempty"`
	AgentName    string     `json:"agent_name,omitempty"`
	Reason       string     `json:"reason,omitempty"`
	AutoApproved *bool      `json:"auto_approved,omitempty"` // of an approval
	ExpiresAt    *time.Time `json:"expires_at,omitempty"`    // of an approval
}

// claimFacts are what was submitted, which the later events do not repeat.
type claimFacts struct {
	ClaimID, ServiceID, Service string
	PublicKey, AgentIP          string
	Subject, AgentID, AgentName string
}

func factsOf(p domain.ClaimSubmitted) claimFacts {
	return claimFacts{
		ClaimID: p.ClaimID, ServiceID: p.ServiceID, Service: p.Service,
		PublicKey: p.PublicKey, AgentIP: p.AgentIP,
		Subject: p.Subject, AgentID: p.AgentID, AgentName: p.AgentName,
	}
}

// newBody is all of the body but the sequence, which differs between webhooks.
func newBody(position uint64, c *domain.Commit, e domain.Event, f claimFacts) body {
	b := body{
		Event: publicNames[e.Type()], Timestamp: c.Time.UTC(), ID: e.ID, Position: strconv.FormatUint(position, 10),
		Data: bodyData{
			ClaimID: f.ClaimID, Namespace: c.Namespace, Service: f.Service,
			PublicKey: f.PublicKey, AgentIP: f.AgentIP,
			Subject: f.Subject, AgentID: f.AgentID, AgentName: f.AgentName,
		},
	}
	switch p := e.Payload.(type) {
	case domain.ClaimApproved:
		b.Data.Reason, b.Data.AutoApproved = p.Reason, &p.AutoApproved
		if p.ExpiresAt != nil {
			at := p.ExpiresAt.UTC()
			b.Data.ExpiresAt = &at
		}
	case domain.ClaimRejected:
		b.Data.Reason = p.Reason
	case domain.ClaimRevoked:
		b.Data.Reason = p.Reason
	case domain.ClaimExpired:
		b.Data.Reason = p.Reason
	}
	return b
}

// encode gives the bytes that are sent, up to the sequence, which is the last of them but
// for a brace.
func (b body) encode() ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false) // no receiver puts this into a page as it is
	if err := e.Encode(b); err != nil {
		return nil, err
	}
	head, ok := bytes.CutSuffix(out.Bytes(), []byte("0}\n"))
	if !ok {
		return nil, fmt.Errorf("the sequence is not at the end of %s", out.Bytes())
	}
	return head, nil
}
