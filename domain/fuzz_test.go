package domain

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Whatever the log holds, reading it is refused or leads to a state that goes on to
// decide: an edited log must not take the process down.
func FuzzApply(f *testing.F) {
	commits := goldenFiles(f, "commits")
	var all [][]byte
	for _, stored := range commits {
		f.Add(stored)
		all = append(all, bytes.TrimSpace(stored))
	}
	f.Add(bytes.Join(all, []byte("\n")))
	for _, event := range goldenFiles(f, "events") {
		for _, kind := range []Kind{KindClaims, KindRegistry} {
			stored := storedCommit(func(c map[string]any) { c["boundary"], c["events"] = kind, []any{json.RawMessage(event)} })
			f.Add(append(bytes.Join(all, []byte("\n")), append([]byte("\n"), stored...)...))
		}
	}
	submitted, err := json.Marshal(NewEvent("01J", 0, ClaimSubmitted{ClaimID: "c", ServiceID: "s", Service: "s", PublicKey: "k", Nonce: "nonce-1", SignatureNonce: "n", Signer: "acme"}))
	if err != nil {
		f.Fatal(err)
	}
	var life [][]byte
	for _, event := range []string{
		string(submitted), `{"id":"e","type":"claim.approved","version":1,"data":{"claim_id":"c"}}`, `{"id":"e","type":"claim.revoked","version":1,"data":{"claim_id":"c"}}`,
		string(submitted), `{"id":"e","type":"claim.expired","version":1,"data":{"claim_id":"c","cause":"time"}}`,
	} {
		life = append(life, storedCommit(func(c map[string]any) { c["events"] = []any{json.RawMessage(event)} }))
		f.Add(bytes.Join(life, []byte("\n")))
	}
	f.Fuzz(func(t *testing.T, lines []byte) {
		claims, registry := NewClaims("acme"), NewRegistry("acme")
		for line := range bytes.Lines(lines) {
			c, err := DecodeCommit(line)
			if err != nil {
				continue
			}
			for _, e := range c.Events {
				if Summary(c.Actor, c.Namespace, e.Payload) == "" {
					t.Fatalf("nothing is told of %s", e.Type())
				}
			}
			// In its place, so that more than the place is looked at.
			c.Namespace = "acme"
			if c.Kind == KindClaims {
				c.Version, c.Time = claims.version+1, later(c.Time, claims.time)
				err = claims.Apply(c)
			} else {
				c.Version, c.Time = registry.version+1, later(c.Time, registry.time)
				err = registry.Apply(c)
			}
			if err != nil {
				return // the state is to be thrown away
			}
			decideOn(t, claims, registry, c)
		}
	})
}

// decideOn gives commands about what the commit named. They may be refused, as a rule or
// for a reason that the log should not give.
func decideOn(t *testing.T, claims *Claims, registry *Registry, c *Commit) {
	terms, now := registry.Terms(), later(c.Time, claims.time)
	terms.ServiceExists = func(string) bool { return true }
	for _, e := range c.Events {
		var commands []ClaimCommand
		switch p := e.Payload.(type) {
		case ClaimSubmitted:
			claims.Verify(p.ServiceID, p.PublicKey, now)
			claims.ServicesOf(p.PublicKey, p.Service)
			commands = []ClaimCommand{Approve{ClaimID: p.ClaimID}, Submit{ClaimID: "next", ServiceID: p.ServiceID, Service: p.Service, PublicKey: p.PublicKey, AgentIP: p.AgentIP}}
		case ClaimApproved:
			commands = []ClaimCommand{Revoke{ClaimID: p.ClaimID}, Expire{ClaimID: p.ClaimID}}
		case WebhookCreated:
			_, _ = registry.Decide(DeleteWebhook{WebhookID: p.WebhookID, ServiceID: p.ServiceID}, CommandRef{}, DefaultOwnerLimits(), now)
		case ServiceCreated:
			_, _ = registry.Decide(DeleteService{ServiceID: p.ServiceID}, CommandRef{}, DefaultOwnerLimits(), now)
		}
		for _, cmd := range append(commands, ExpireOverdue{}) {
			_, err := claims.Decide(cmd, c.Command, terms, now)
			var refusal *Error
			if err != nil && c.Command.Key == "" && !errors.As(err, &refusal) {
				t.Fatalf("%T: %v", cmd, err)
			}
		}
	}
	registry.Owner()
	registry.SealedWith(registry.Time())
	if at, due := claims.NextDue(); due && claims.Backlog(at.Add(-time.Nanosecond)) {
		t.Fatal("it is late before it is due")
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// A login token is read as the one that was made for its namespace, or not at all.
func FuzzLoginToken(f *testing.F) {
	for _, token := range []string{FormatLoginToken("acme", "SECRET"), FormatLoginToken("a-1", "se_cr_et"), "login_", "login_acme_", "login__x", "login_Acme_x", "LOGIN_acme_x", "login_a.b_x"} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		namespace, ok := LoginTokenNamespace(token)
		if !ok {
			return
		}
		secret := strings.TrimPrefix(token, FormatLoginToken(namespace, ""))
		if !ValidNamespace(namespace) || CanonicalNamespace(namespace) != namespace || secret == "" || FormatLoginToken(namespace, secret) != token {
			t.Fatalf("%q is a token of %q", token, namespace)
		}
	})
}

// What a valid policy approves lies in one of its ranges, however the two are written, and
// an address that nobody may give approves nothing that is bound to a range.
func FuzzAutoApprove(f *testing.F) {
	for _, seed := range [][2]string{
		{"203.0.113.0/24", "203.0.113.7"}, {"::ffff:198.51.100.0/120", "198.51.100.7"}, {"::ffff:0:0/96", "::ffff:1.2.3.4"}, {"::/0", "1.2.3.4"}, {"0.0.0.0/0", "::1"},
		{"2001:db8::/32", "2001:db8::1%eth0"}, {"10.0.0.0/33", "10.0.0.1"}, {"1.2.3.4", ""}, {"::ffff:1.2.3.4/95", "1.2.3.4"},
	} {
		f.Add(seed[0], seed[1], 1, 1, 24)
	}
	f.Fuzz(func(t *testing.T, cidr, ip string, pending, agents, hours int) {
		p := DefaultPolicy()
		p.MaxPending, p.MaxAgents, p.PendingExpiryHours = pending, agents, hours
		p.AutoApprove = AutoApprove{ServiceIDs: []string{"svc"}, CIDRs: []string{cidr}}
		if p.Validate() != nil {
			return
		}
		if p.Approves("other", ip) {
			t.Fatal("an address alone approves")
		}
		stored, err := json.Marshal(NewEvent("01J", 0, PolicyChanged{p}))
		if err != nil {
			t.Fatal(err)
		}
		var read Event
		if err := json.Unmarshal(stored, &read); err != nil || !read.Payload.(PolicyChanged).Policy.equal(p) {
			t.Fatalf("%s is read as %+v, %v", stored, read, err)
		}
		if until := p.pendingUntil(start); until != nil && !until.After(start) {
			t.Fatalf("%d hours end at %v", hours, until)
		}
		if !p.Approves("svc", ip) {
			return
		}
		prefix, addr := netip.MustParsePrefix(cidr), netip.MustParseAddr(ip).WithZone("")
		mapped := addr.Unmap()
		if !prefix.Contains(addr) && !prefix.Contains(mapped) && !(mapped.Is4() && prefix.Contains(netip.AddrFrom16(mapped.As16()))) && !inMapped(prefix, mapped) {
			t.Fatalf("%s approves %s", cidr, ip)
		}
	})
}

// inMapped reports whether an IPv4 address lies in a range that is written as mapped ones,
// bit by bit.
func inMapped(p netip.Prefix, a netip.Addr) bool {
	if !a.Is4() || p.Addr().Is4() {
		return false
	}
	want, got := p.Addr().As16(), a.As16()
	for bit := range p.Bits() {
		if (want[bit/8]^got[bit/8])>>(7-bit%8)&1 != 0 {
			return false
		}
	}
	return true
}

// A secret or a header that is taken can be used, and what refuses it does not repeat it.
func FuzzWebhookCredentials(f *testing.F) {
	for _, secret := range []string{FormatWebhookSecret([32]byte{}), "whsec_", "whsec_AAAA", "whsec_====", "a secret of a client", strings.Repeat("x", 257)} {
		f.Add(secret, "Authorization", "Bearer "+secret)
	}
	for _, name := range []string{"", "Content-Type", "X Y", "webhook-id", "X-Token\r\nX", "X-Sigilum-Signature"} {
		f.Add("0123456789abcdef", name, "a value ")
	}
	f.Fuzz(func(t *testing.T, secret, name, value string) {
		if key, err := WebhookSecretKey(secret); err == nil && len(key) < minOwnWebhookSecret {
			t.Fatalf("%q gives %d bytes", secret, len(key))
		} else if err != nil && len(secret) > 8 && strings.Contains(err.Error(), secret) {
			t.Fatalf("%q is repeated: %v", secret, err)
		}
		err := CheckAuthHeader(name, value)
		if err == nil && (strings.ContainsAny(name+value, "\r\n\x00") || (name == "") != (value == "")) {
			t.Fatalf("%q: %q was accepted", name, value)
		}
		if err != nil && ErrorCode(err) != CodeInvalidRequest {
			t.Fatal(err)
		}
	})
}
