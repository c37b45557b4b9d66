package domain

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// summaries are what the full example of each event is told as, and by whom it was done.
var summaries = map[EventType]struct {
	by   Actor
	want string
}{
	ClaimSubmittedType: {Actor{ActorServiceKey, "k-1", "ed25519:AAAA"},
		`Service key k-1 submitted claim claim_01j8: agent "Agent & co" with the key ed25519:AAAA at 203.0.113.7 asks to use service openai of namespace shop for "<ü>".`},
	ClaimApprovedType: {Actor{Kind: ActorServiceKey, ID: "k-1"},
		`The namespace's policy approved claim claim_01j8 until 2026-03-02T12:00:00Z, as service key k-1 submitted it.`},
	ClaimRejectedType: {Actor{Kind: ActorServiceKey, ID: "k-1"},
		`The namespace's policy rejected claim claim_01j8, as service key k-1 submitted it, because "unknown".`},
	ClaimRevokedType:         {Actor{Kind: ActorManagementKey, ID: "m-1"}, `Management key m-1 revoked claim claim_01j8, because "lost".`},
	ClaimExpiredType:         {Actor{Kind: ActorOwner, ID: "owner-1"}, `Owner owner-1 ended claim claim_01j8 as expired, because "enough".`},
	NamespaceRegisteredType:  {Actor{Kind: ActorOperator}, `The operator registered namespace acme with owner owner-1.`},
	NamespaceDeactivatedType: {Actor{Kind: ActorOperator}, `The operator deactivated namespace acme, because "unpaid".`},
	NamespaceActivatedType:   {Actor{Kind: ActorOperator}, `The operator activated namespace acme, because "paid".`},
	LoginTokenIssuedType:     {Actor{Kind: ActorOperator}, `The operator issued a one-time login link for owner owner-1, good until 2026-03-02T12:00:00Z.`},
	OwnerLoggedInType: {Actor{Kind: ActorOwner, ID: "owner-1"},
		`Owner owner-1 signed in with a one-time login link, for session session-1 until 2026-03-02T12:00:00Z.`},
	SessionEndedType: {Actor{Kind: ActorOwner, ID: "owner-1"}, `Owner owner-1 ended session session-1 of owner owner-1.`},
	PolicyChangedType: {Actor{Kind: ActorOwner, ID: "owner-1"},
		`Owner owner-1 changed the policy of namespace acme to at most 20 pending claims, 100 agents and 10 services, pending claims that expire after 24 hours, and automatic approval on 6f1c from 203.0.113.0/24.`},
	ServiceCreatedType: {Actor{Kind: ActorOwner, ID: "owner-1"}, `Owner owner-1 created service openai of namespace acme, named "OpenAI", with the id 6f1c.`},
	ServiceUpdatedType: {Actor{Kind: ActorOwner, ID: "owner-1"}, `Owner owner-1 changed service 6f1c, which is now named "Open AI" and described as "More models".`},
	ServiceDeletedType: {Actor{Kind: ActorOwner, ID: "owner-1"}, `Owner owner-1 deleted service 6f1c with its keys and webhooks.`},
	ServiceKeyCreatedType: {Actor{Kind: ActorOwner, ID: "owner-1"},
		`Owner owner-1 created service key k-1, named "first", which begins with sk_live_abcd, for service 6f1c.`},
	ServiceKeyDeactivatedType: {Actor{Kind: ActorManagementKey, ID: "m-1"}, `Management key m-1 deactivated service key k-1 of service 6f1c.`},
	ServiceKeyRevokedType:     {Actor{Kind: ActorManagementKey, ID: "m-1"}, `Management key m-1 revoked service key k-1 of service 6f1c.`},
	ManagementKeyCreatedType: {Actor{Kind: ActorOwner, ID: "owner-1"},
		`Owner owner-1 created management key m-1, named "sync", which ends in wxyz and has the permissions read, delete-model.`},
	ManagementKeyDeactivatedType: {Actor{Kind: ActorOwner, ID: "owner-1"}, `Owner owner-1 deactivated management key m-1.`},
	ManagementKeyDeletedType:     {Actor{Kind: ActorOwner, ID: "owner-1"}, `Owner owner-1 deleted management key m-1.`},
	WebhookCreatedType: {Actor{Kind: ActorOwner, ID: "owner-1"},
		`Owner owner-1 created webhook w-1, which tells "https://example.com/?a=1&b=2" of claim.approved on service 6f1c.`},
	WebhookReconfiguredType: {Actor{Kind: ActorOwner, ID: "owner-1"},
		`Owner owner-1 changed webhook w-1 of service 6f1c, which now tells "https://example.com/?a=1&b=2" of claim.approved.`},
	WebhookSecretRotatedType: {Actor{Kind: ActorOwner, ID: "owner-1"},
		`Owner owner-1 gave webhook w-1 of service 6f1c a new secret; the one before signs too until 2026-03-02T12:00:00Z.`},
	WebhookResealedType: {Actor{Kind: ActorOperator},
		`The operator sealed the secrets of webhook w-1 of service 6f1c again, with another key.`},
	WebhookUpdatedType: {Actor{Kind: ActorRelay}, `The webhook relay activated webhook w-1 of service 6f1c, because "back".`},
	WebhookDeletedType: {Actor{Kind: ActorOwner, ID: "owner-1"}, `Owner owner-1 deleted webhook w-1 of service 6f1c.`},
	OwnerAddedType:     {Actor{Kind: ActorOperator}, `The operator made owner-2 an owner of namespace acme.`},
	OwnerRemovedType: {Actor{Kind: ActorOperator},
		`The operator removed owner owner-2 of namespace acme, with his sessions, passkeys and login links.`},
	PasskeyAddedType:   {Actor{Kind: ActorOwner, ID: "owner-1"}, `Owner owner-1 added passkey p-1, named "phone", for owner owner-1.`},
	PasskeyRemovedType: {Actor{Kind: ActorOwner, ID: "owner-1"}, `Owner owner-1 removed passkey p-1 of owner owner-1.`},
	OwnerSignedInType: {Actor{Kind: ActorOwner, ID: "owner-1"},
		`Owner owner-1 signed in with passkey p-1, for session session-1 until 2026-03-02T12:00:00Z.`},
}

func TestSummary(t *testing.T) {
	for _, p := range currentEvents() {
		s, ok := summaries[p.EventType()]
		if !ok {
			t.Errorf("%s has no example; without a case in Summary it is told as %s", p.EventType(), Summary(Actor{}, "acme", p))
			continue
		}
		if got := Summary(s.by, "acme", p); got != s.want {
			t.Errorf("%s:\n got %s\nwant %s", p.EventType(), got, s.want)
		}
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := SummaryOf(s.by, "acme", p.EventType(), p.SchemaVersion(), data); got != s.want {
			t.Errorf("%s as it is stored:\n got %s\nwant %s", p.EventType(), got, s.want)
		}
	}
}

// What an event says in more than one way.
func TestSummaryVariants(t *testing.T) {
	owner, clock := Actor{Kind: ActorOwner, ID: "o"}, Actor{Kind: ActorClock}
	end := time.Date(2030, 1, 2, 3, 4, 5, 6e8, time.FixedZone("", 3600))
	for _, tc := range []struct {
		by   Actor
		p    Payload
		want string
	}{
		{owner, ClaimApproved{ClaimID: "c"}, `Owner o approved claim c.`},
		{owner, ClaimApproved{ClaimID: "c", Reason: "ok", ExpiresAt: &end}, `Owner o approved claim c until 2030-01-02T02:04:05.6Z, because "ok".`},
		{owner, ClaimRejected{ClaimID: "c"}, `Owner o rejected claim c.`},
		{clock, ClaimExpired{ClaimID: "c", Cause: ExpiredUndecided}, `The clock ended claim c as expired: nobody had decided on it in time.`},
		{clock, ClaimExpired{ClaimID: "c", Cause: ExpiredApproval}, `The clock ended claim c as expired: the time that it was approved for was over.`},
		{owner, ClaimExpired{ClaimID: "c", Cause: ExpiredUndecided},
			`The clock ended claim c as expired, which a command of owner o recorded: nobody had decided on it in time.`},
		{owner, ClaimSubmitted{ClaimID: "c", PublicKey: "K", AgentIP: "::1", Service: "s", ServiceNamespace: "n"},
			`Owner o submitted claim c: agent K at ::1 asks to use service s of namespace n.`},
		{owner, ClaimSubmitted{ClaimID: "c", PublicKey: "K", AgentIP: "::1", Service: "s", ServiceNamespace: "n", AgentID: "a"},
			`Owner o submitted claim c: agent "a" with the key K at ::1 asks to use service s of namespace n.`},
		{owner, WebhookUpdated{WebhookID: "w", ServiceID: "s"}, `Owner o deactivated webhook w of service s.`},
		{owner, PolicyChanged{Policy{Limits: Limits{1, 2, 3, 0}}},
			`Owner o changed the policy of namespace acme to at most 1 pending claims, 2 agents and 3 services, pending claims that never expire, and no automatic approval.`},
		{Actor{}, ServiceDeleted{ServiceID: "s"}, `Somebody deleted service s with its keys and webhooks.`},
		{Actor{Kind: "robot", ID: "r"}, ServiceDeleted{ServiceID: "s"}, `Robot r deleted service s with its keys and webhooks.`},
		// Nobody's text ends the sentence, or turns it around.
		{owner, ClaimRevoked{ClaimID: "c", Reason: "x\".\nOwner p \u202etold"}, `Owner o revoked claim c, because "x\".\nOwner p \u202etold".`},
	} {
		if got := Summary(tc.by, "acme", tc.p); got != tc.want {
			t.Errorf("%+v:\n got %s\nwant %s", tc.p, got, tc.want)
		}
	}
}

// An event that a newer program recorded is told as far as it is known.
func TestSummaryOfWhatCannotBeRead(t *testing.T) {
	for _, got := range []string{
		SummaryOf(Actor{Kind: ActorOwner, ID: "o"}, "acme", "claim.forgotten", 1, []byte(`{}`)),
		SummaryOf(Actor{Kind: ActorOwner, ID: "o"}, "acme", "claim.forgotten", 1, []byte(`null`)),
	} {
		if want := "Owner o recorded the event claim.forgotten."; got != want {
			t.Errorf("%s", got)
		}
	}
	for _, data := range []string{`null`, `{"claim_id":1}`, `{`} {
		if got := SummaryOf(Actor{Kind: ActorClock}, "acme", ClaimRevokedType, 1, []byte(data)); got != "The clock recorded the event claim.revoked." {
			t.Errorf("%s: %s", data, got)
		}
	}
}

// A summary needs none of what the history leaves out, and shows none of it.
func TestSummaryWithoutSecrets(t *testing.T) {
	secret := []string{"token_hash", "key_hash", "challenge_hash", "secret", "auth_value"}
	for _, p := range currentEvents() {
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(data, &fields); err != nil {
			t.Fatal(err)
		}
		by, full := summaries[p.EventType()].by, Summary(summaries[p.EventType()].by, "acme", p)
		for name, value := range fields {
			if slices.Contains(secret, name) {
				delete(fields, name)
				if strings.Contains(full, strings.Trim(string(value), `"`)) {
					t.Errorf("%s shows %s", full, name)
				}
			}
		}
		if data, err = json.Marshal(fields); err != nil {
			t.Fatal(err)
		}
		if got := SummaryOf(by, "acme", p.EventType(), p.SchemaVersion(), data); got != full {
			t.Errorf("%s:\n got %s\nwant %s", p.EventType(), got, full)
		}
	}
}
