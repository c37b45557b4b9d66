package api_test

import (
	"crypto/rand"
	"errors"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/api/client"
	"github.com/claimledger/claimledger/domain"
)

// goClient is a Go client of the node, whose exchanges are held to the description.
func (n *node) goClient(t *testing.T, change ...func(*client.Config)) *client.Client {
	t.Helper()
	config := client.Config{URL: n.public, HTTP: &http.Client{Transport: n.client.Transport}, ReadYourWrites: true}
	for _, f := range change {
		f(&config)
	}
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// collect reads a list to its end.
func collect[T any](t *testing.T, list iter.Seq2[T, error]) (all []T) {
	t.Helper()
	for item, err := range list {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, item)
	}
	return all
}

// ok is for calls that must not fail.
func ok[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// A claim's whole life, through the Go client.
func TestGoClient(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	ctx := t.Context()
	token, recorded := n.loginToken("acme")
	n.operator("acme", domain.RegisterNamespace{OwnerID: "owner_" + newID(), Token: recorded})
	anybody := n.goClient(t)
	session := ok[client.Session](t)(anybody.Login(ctx, token))
	o := anybody.WithSession(session.Token)
	caller := ok[client.Caller](t)(o.GetCaller(ctx))
	if session.Namespace != "acme" || caller.Namespace != "acme" || caller.ExpiresAt == nil || len(caller.Permissions) != 5 {
		t.Errorf("signed in as %+v, who is %+v", session, caller)
	}

	mail := ok[client.Service](t)(o.CreateService(ctx, client.NewService{Slug: "mail", Name: "Mail"}))
	name := "Team mail"
	if changed := ok[client.Service](t)(o.UpdateService(ctx, mail.ID, client.ServiceChange{Name: &name})); changed.Name != name || changed.Slug != "mail" {
		t.Errorf("changed to %+v", changed)
	}
	key := ok[client.ServiceKey](t)(o.CreateServiceKey(ctx, mail.ID, "production"))
	fourOf := 4
	policy := ok[domain.Policy](t)(o.ChangePolicy(ctx, "acme", client.PolicyChange{MaxPending: &fourOf}))
	if policy.MaxPending != 4 || policy.MaxAgents != domain.DefaultPolicy().MaxAgents {
		t.Errorf("the policy is %+v", policy)
	}

	a := l.agent(t, "acme")
	gateway := n.goClient(t, func(c *client.Config) { c.Signer, c.ServiceKey = a.Signer, key.Key })
	submission := client.Submission{Namespace: "acme", PublicKey: a.public, Service: "mail", AgentIP: "203.0.113.45"}
	var made, again client.Answer
	submitted := ok[client.Submitted](t)(gateway.SubmitClaim(ctx, submission, client.Into(&made)))
	same := ok[client.Submitted](t)(gateway.SubmitClaim(ctx, submission, client.Into(&again)))
	if made.Status != 201 || again.Status != 200 || same.ClaimID != submitted.ClaimID || made.Position != l.last() {
		t.Errorf("submitted %+v (%+v) and %+v (%+v)", submitted, made, same, again)
	}
	other := l.agent(t, "acme")
	submission.PublicKey, submission.ByGateway = other.public, true
	second := ok[client.Submitted](t)(gateway.SubmitClaim(ctx, submission))

	approved := ok[client.Approved](t)(o.ApproveClaim(ctx, submitted.ClaimID, client.Approval{Reason: "known"}))
	if approved.AgentsApproved != 1 || approved.AgentsLimit != policy.MaxAgents {
		t.Errorf("approved %+v", approved)
	}
	if _, err := o.ApproveClaim(ctx, submitted.ClaimID, client.Approval{}); client.ErrorCode(err) != domain.CodeConflict {
		t.Errorf("approved twice: %v", err)
	}
	for namespace, want := range map[string]string{"acme": "", "ACME": ""} {
		v := ok[client.Verdict](t)(gateway.Verify(ctx, client.VerifyQuery{Namespace: namespace, PublicKey: a.public}))
		if !v.Authorized || v.Reason != want || v.ClaimID != submitted.ClaimID {
			t.Errorf("verified in %s: %+v", namespace, v)
		}
	}
	fed := collect(t, gateway.AllFeed(ctx, client.FeedQuery{Limit: 1}, client.AtLeast(l.last())))
	if len(fed) != 1 || fed[0].ClaimID != submitted.ClaimID || fed[0].PublicKey != a.public {
		t.Errorf("fed %+v", fed)
	}
	page := ok[client.FeedPage](t)(gateway.GetFeed(ctx, client.FeedQuery{}))
	if known := ok[client.FeedPage](t)(gateway.GetFeed(ctx, client.FeedQuery{IfNoneMatch: page.ETag})); !known.NotModified || page.NotModified || page.Position == 0 {
		t.Errorf("a known page is %+v, the first %+v", known, page)
	}

	ended := ok[client.Ended](t)(o.RejectClaim(ctx, second.ClaimID, "unknown"))
	revoked := ok[client.Ended](t)(o.RevokeClaim(ctx, submitted.ClaimID, "gone"))
	if ended.Status != domain.StatusRejected || revoked.Status != domain.StatusRevoked || revoked.BlockchainTxStatus != "disabled" {
		t.Errorf("ended %+v and %+v", ended, revoked)
	}
	changes := ok[client.FeedChanges](t)(gateway.GetFeedChanges(ctx, client.ChangesQuery{Since: page.Position}, client.AtLeast(l.last())))
	if len(changes.Changes) != 1 || changes.Changes[0].Op != client.OpRemove || changes.Position != l.last() {
		t.Errorf("changed: %+v", changes)
	}
	if claim := ok[client.Claim](t)(o.GetClaim(ctx, submitted.ClaimID)); claim.Reason != "gone" || claim.RevokedAt == nil {
		t.Errorf("the claim is %+v", claim)
	}
	if claims := collect(t, o.AllClaims(ctx, "acme", client.ClaimsQuery{Page: client.Page{Limit: 1}})); len(claims) != 2 || claims[0].ClaimID != second.ClaimID {
		t.Errorf("the claims are %+v", claims)
	}
	then := ok[client.ClaimsPage](t)(o.ListClaims(ctx, "acme", client.ClaimsQuery{AsOf: client.AtPosition(made.Position)}))
	if len(then.Claims) != 1 || then.Claims[0].Status != domain.StatusPending || then.Position != made.Position {
		t.Errorf("at %d there was %+v", made.Position, then)
	}
	events := collect(t, o.AllEvents(ctx, "acme", client.HistoryQuery{Limit: 2, Types: []domain.EventType{"claim.submitted", "claim.revoked", "claim.rejected"}}))
	if len(events) != 4 || events[3].ClaimID != submitted.ClaimID || events[3].Data["reason"] != "gone" || events[3].Commit.Hash.IsZero() {
		t.Errorf("the history is %+v", events)
	}
	of := ok[client.History](t)(o.GetClaimEvents(ctx, second.ClaimID, client.HistoryQuery{NewestFirst: true, Limit: 1}))
	if len(of.Events) != 1 || of.Events[0].Type != "claim.rejected" || of.Pagination.Next == "" {
		t.Errorf("the claim's history is %+v", of)
	}
	if got := ok[client.Namespace](t)(gateway.GetNamespace(ctx, "acme")); got.Namespace != "acme" || !got.Active || got.ActiveClaims != 0 {
		t.Errorf("the namespace is %+v", got)
	}
	goClientEndsThings(t, n, o, mail, key)
}

// goClientEndsThings goes on with keys and webhooks, and ends what there is.
func goClientEndsThings(t *testing.T, n *node, o *client.Client, mail client.Service, key client.ServiceKey) {
	ctx := t.Context()
	manage := ok[client.ManagementKey](t)(o.CreateManagementKey(ctx, client.NewManagementKey{Name: "sync", Permissions: []domain.Permission{domain.PermissionRead}}))
	program := n.goClient(t, func(c *client.Config) { c.ManagementKey = manage.RawKey })
	var refused *client.Error
	if err := program.DeleteService(ctx, mail.ID); !errors.As(err, &refused) || refused.Code != domain.CodePermissionRequired || refused.RequestID == "" {
		t.Errorf("without a permission: %v", err)
	}
	if services := collect(t, program.AllServices(ctx)); len(services) != 1 || services[0].ActiveKeyCount != 1 {
		t.Errorf("the services are %+v", services)
	}
	hook := ok[client.Webhook](t)(o.CreateWebhook(ctx, mail.ID, client.NewWebhook{URL: "https://hooks.example.com/ledger", Events: []string{"request.approved"}}))
	rotated := ok[client.SecretRotated](t)(o.RotateWebhookSecret(ctx, mail.ID, hook.ID, ""))
	off := false
	hook = ok[client.Webhook](t)(o.UpdateWebhook(ctx, mail.ID, hook.ID, client.WebhookChange{Active: &off}))
	if hook.Active || rotated.PreviousUntil.Before(time.Now()) || !strings.HasPrefix(rotated.Secret, "whsec_") {
		t.Errorf("the webhook is %+v, its secret %+v", hook, rotated)
	}
	if hooks := collect(t, o.AllWebhooks(ctx, mail.ID)); len(hooks) != 1 || hooks[0].ID != hook.ID {
		t.Errorf("the webhooks are %+v", hooks)
	}
	for what, err := range map[string]error{
		"DeleteWebhook":           o.DeleteWebhook(ctx, mail.ID, hook.ID),
		"DeactivateServiceKey":    o.DeactivateServiceKey(ctx, mail.ID, key.ID),
		"DeactivateManagementKey": o.DeactivateManagementKey(ctx, manage.ID),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if keys := collect(t, o.AllServiceKeys(ctx, mail.ID)); len(keys) != 1 || keys[0].Active || keys[0].Key != "" {
		t.Errorf("the keys are %+v", keys)
	}
	if err := errors.Join(o.RevokeServiceKey(ctx, mail.ID, key.ID), o.DeleteManagementKey(ctx, manage.ID), o.DeleteService(ctx, mail.ID), o.Logout(ctx)); err != nil {
		t.Error(err)
	}
	if _, err := o.GetCaller(ctx); client.ErrorCode(err) != domain.CodeUnauthorized {
		t.Errorf("after the session: %v", err)
	}
}

// A repeated command is the first one, on whatever node.
func TestGoClientRepeats(t *testing.T) {
	l := newLedger(t)
	n, elsewhere := l.start(), l.start()
	o := n.owner(t, "acme")
	key := client.IdempotencyKey(rand.Text())
	var made []client.Service
	for _, at := range []*node{n, elsewhere} {
		c := at.goClient(t, func(c *client.Config) { c.URL, c.Session = "http://"+at.addr, o.session })
		made = append(made, ok[client.Service](t)(c.CreateService(t.Context(), client.NewService{Slug: "mail", Name: "Mail"}, key)))
	}
	if made[0].ID != made[1].ID {
		t.Errorf("made twice: %+v", made)
	}
}
