package audit_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/domain/audit"
	"github.com/claimledger/claimledger/domain/audit/audittest"
)

// given audits a log from a position on, as much of it as the scope has.
func given(t testing.TB, l *audittest.Log, scope audit.Scope, trust audit.Trust) (audit.Report, error) {
	t.Helper()
	a, err := trust.Begin(scope, l.Chain(scope.From-1))
	for position := scope.From; err == nil && position <= l.Last(); position++ {
		stored := l.Stored[position-1]
		e := audit.Entry{Position: position, Hash: domain.HashOf(stored)}
		if c, err := domain.DecodeCommit(stored); err != nil || scope.Has(position, c.Namespace) {
			e.Stored = stored
		}
		err = a.Add(e)
	}
	if err != nil {
		return audit.Report{}, err
	}
	return trust.End(a)
}

func whole(l *audittest.Log) audit.Scope { return audit.Scope{From: 1, To: l.Last()} }

// finds makes sure of what is found, or that nothing is where want is empty.
func finds(t testing.TB, name string, err error, want string) {
	t.Helper()
	var found *audit.Finding
	if want == "" && err != nil || want != "" && (!errors.As(err, &found) || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: found %v, want %q", name, err, want)
	}
}

func TestWhatALedgerMadeIsGood(t *testing.T) {
	l := audittest.Example(t)
	r, err := given(t, l, whole(l), audit.Trust{})
	finds(t, "the whole log", err, "")
	want := map[domain.Status]int{domain.StatusPending: 1, domain.StatusRevoked: 1, domain.StatusExpired: 2, domain.StatusRejected: 1}
	if r.End != l.Chain(l.Last()) || r.Tally.Commits != l.Last() || r.Tally.Namespaces != 2 || r.Tally.Unfolded != 0 || !maps.Equal(r.Tally.Claims, want) || r.Sure() != 0 {
		t.Errorf("%+v", r)
	}
	for from := uint64(1); from <= l.Last(); from++ {
		for _, namespace := range []string{"", "acme", "shop"} {
			scope := audit.Scope{Namespace: namespace, From: from, To: l.Last() - from%3}
			r, err := given(t, l, scope, audit.Trust{})
			finds(t, fmt.Sprintf("%+v", scope), err, "")
			if namespace != "" && from == 1 && r.Tally.Unfolded != 0 {
				t.Errorf("%+v: %+v", scope, r.Tally)
			}
		}
	}
}

// What no ledger can have made is found, and named.
func TestFinds(t *testing.T) {
	asked := func(claim, agent string) domain.ClaimSubmitted {
		until := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
		return domain.ClaimSubmitted{
			ClaimID: claim, ServiceID: audittest.Service("acme"), ServiceNamespace: "acme", Service: "weather", PublicKey: agent, AgentIP: "203.0.113.7",
			Nonce: claim, Signer: "acme", SignatureNonce: claim, ExpiresAt: &until,
		}
	}
	claims, registry := domain.ClaimsOf("acme"), domain.RegistryOf("acme")
	key := audittest.Submitter("acme")
	putAsk := func(l *audittest.Log, basis *domain.Basis, p domain.ClaimSubmitted) { l.Put(claims, key, basis, p) }
	changed := func(change func(*domain.Commit)) func(*audittest.Log) {
		return func(l *audittest.Log) {
			c := domain.NewCommit("01KJX", claims, l.Now, key, domain.CommandRef{}, l.Basis("acme"), []domain.Payload{asked("c", "k")})
			l.PutCommit(c, change)
		}
	}
	tests := []struct {
		name  string
		write func(*audittest.Log)
		want  string
	}{
		{"nothing", changed(func(*domain.Commit) {}), ""},
		{"a version too many", changed(func(c *domain.Commit) { c.Version++ }), "version 3 of acme/claims follows version 1"},
		{"another before it", changed(func(c *domain.Commit) { c.Prev[0]++ }), "does not follow what stands before it"},
		{"an earlier time", changed(func(c *domain.Commit) { c.Time = c.Time.Add(-1) }), "was made before the version that it follows"},
		{"another's event", changed(func(c *domain.Commit) { c.Events[0].ID = "evt_x_1" }), "its event 1 has the id evt_x_1, not evt_01kjx_1"},
		{"no basis", changed(func(c *domain.Commit) { c.Basis = nil }), "does not say which limits"},
		{"a registry to come", changed(func(c *domain.Commit) { c.Basis.RegistryVersion++ }), "decided on version 4 of the registry, which had 3"},
		{"no registry", changed(func(c *domain.Commit) { c.Basis.RegistryVersion = 0 }), "decided on version 0"},
		{"other limits", changed(func(c *domain.Commit) { c.Basis.Limits.MaxPending = 99 }), "decided on the limits {MaxPending:99"},
		{"a transition outside the diagram", func(l *audittest.Log) {
			l.Put(claims, key, l.Basis("acme"), domain.ClaimRevoked{ClaimID: "claim_1"})
		}, "cannot go from pending to revoked"},
		{"two active claims", func(l *audittest.Log) { putAsk(l, l.Basis("acme"), asked("c", "ed25519:one")) }, "active for the same service and key"},
		{"too many", func(l *audittest.Log) {
			for i := range 20 {
				putAsk(l, l.Basis("acme"), asked(fmt.Sprint("c", i), fmt.Sprint("k", i)))
			}
		}, "21 claims are pending, past the limit of 20"},
		{"too late", func(l *audittest.Log) {
			l.Now = l.Now.Add(24 * time.Hour)
			l.Put(claims, audittest.Owner("acme"), l.Basis("acme"), domain.ClaimApproved{ClaimID: "claim_1"})
		}, "was past its time"},
		{"a namespace that stood still", func(l *audittest.Log) {
			l.Registry("acme", audittest.Operator, domain.DeactivateNamespace{})
			putAsk(l, l.Basis("acme"), asked("c", "k"))
		}, "deactivated"},
		{"decided before it stood still", func(l *audittest.Log) {
			basis := l.Basis("acme")
			l.Registry("acme", audittest.Operator, domain.DeactivateNamespace{})
			putAsk(l, basis, asked("c", "k"))
		}, ""},
		{"a namespace that never was", func(l *audittest.Log) {
			l.Put(domain.ClaimsOf("nobody"), key, l.Basis("acme"), asked("c", "k"))
		}, "claims of a namespace that was not registered"},
		{"a registry without a beginning", func(l *audittest.Log) {
			l.Put(domain.RegistryOf("nobody"), audittest.Operator, nil, domain.NamespaceDeactivated{})
		}, "namespace registered: false"},
		{"registered for another", func(l *audittest.Log) {
			l.Put(domain.RegistryOf("nobody"), audittest.Operator, nil, domain.NamespaceRegistered{Namespace: "somebody", OwnerID: "o"})
		}, "registers somebody in the place of nobody"},
		{"an owner that nobody made", func(l *audittest.Log) {
			l.Put(registry, domain.Actor{Kind: domain.ActorOwner, ID: "owner_x"}, nil, domain.NamespaceDeactivated{})
		}, "the owner owner_x that acted was never made before"},
		{"a management key that nobody made", func(l *audittest.Log) {
			l.Put(claims, domain.Actor{Kind: domain.ActorManagementKey, ID: "m"}, l.Basis("acme"), domain.ClaimApproved{ClaimID: "claim_1"})
		}, "the management_key m that acted"},
		{"another's key", func(l *audittest.Log) {
			l.Put(claims, audittest.Submitter("shop"), l.Basis("acme"), asked("c", "k"))
		}, "which service service-of-acme never had"},
		{"a service that never was", func(l *audittest.Log) {
			p := asked("c", "k")
			p.ServiceID = "none"
			putAsk(l, l.Basis("acme"), p)
		}, "is on service none of acme, which was never made"},
		{"a service twice", func(l *audittest.Log) {
			l.Put(domain.RegistryOf("shop"), audittest.Owner("shop"), nil, domain.ServiceCreated{ServiceID: audittest.Service("acme"), Slug: "s"})
		}, "was made before, in acme"},
		{"no JSON", func(l *audittest.Log) { l.Stored = append(l.Stored, []byte("{}x")) }, "it cannot be read"},
	}
	for _, test := range tests {
		l := audittest.New(t)
		l.Begin("acme")
		l.Begin("shop")
		l.Submit("acme", "acme", "claim_1", "ed25519:one")
		good := l.Last()
		test.write(l)
		_, err := given(t, l, whole(l), audit.Trust{})
		finds(t, test.name, err, test.want)
		var found *audit.Finding
		if errors.As(err, &found) && (found.Position <= good || found.Position > l.Last() || found.CommitID == "" && test.name != "no JSON") {
			t.Errorf("%s: it is said to be at %+v", test.name, found)
		}
	}
}

// A program that is too old for a log says nothing about it.
func TestNewerEvents(t *testing.T) {
	l := audittest.Example(t)
	l.Stored = append(l.Stored, []byte(strings.Replace(string(l.Stored[3]), "namespace.registered", "namespace.improved", 1)))
	_, err := given(t, l, whole(l), audit.Trust{})
	var newer *domain.UnknownEventError
	var found *audit.Finding
	if !errors.As(err, &newer) || errors.As(err, &found) {
		t.Errorf("%v", err)
	}
}

// What a head says of the log is held against it, wherever the head is from.
func TestHeads(t *testing.T) {
	l, key := audittest.Example(t), audittest.Key(t, 1)
	end := l.Last()
	trust := func(keys ...string) audit.Trust { return audit.Trust{Keys: keys} }
	kept := func(heads ...domain.LogHead) audit.Trust { return audit.Trust{Heads: heads} }
	other := l.Head(key, end-2)
	other.Hash[0]++
	forged := key.Sign(other.Chain(), l.Now)
	unsigned := l.Head(key, end-2)
	unsigned.Signature[0]++
	longer := audittest.Example(t)
	longer.Submit("acme", "acme", "claim_6", "ed25519:six")
	for _, test := range []struct {
		name  string
		from  uint64
		trust audit.Trust
		want  string
	}{
		{"of the end", 1, kept(l.Head(key, end)), ""},
		{"of the middle and the end", 1, kept(l.Head(key, end), l.Head(key, end-2), l.Head(key, 3)), ""},
		{"another log", 1, kept(l.Head(key, 3), forged), "something after position 3 was altered"},
		{"another log, from the first", 1, kept(forged), "something in it was altered"},
		{"not signed", 1, kept(unsigned), "is no head that anybody signed"},
		{"before and in it", 5, kept(l.Head(key, 3), l.Head(key, 9)), ""},
		{"in it and after it", 5, kept(l.Head(key, 9), longer.Head(key, end+1)), ""},
		{"all of a log that goes on", 1, audit.Trust{Heads: []domain.LogHead{longer.Head(key, end+1)}, All: true}, "was cut off"},
	} {
		_, err := given(t, l, audit.Scope{From: test.from, To: end}, test.trust)
		finds(t, test.name, err, test.want)
	}

	// What an auditor has and cannot compare accuses nobody, and passes nothing.
	for _, test := range []struct {
		name  string
		from  uint64
		trust audit.Trust
		sure  uint64
		want  string
	}{
		{"no head of the key", 1, trust(key.ID()), 0, "no head of anything in it is signed with " + key.ID()},
		{"a later head", 1, kept(longer.Head(key, end+1)), 0, "it is older than that head, or was cut off; export again"},
		{"one in it and a later one", 1, kept(l.Head(key, 3), longer.Head(key, end+1)), 3, "before the head of position " + fmt.Sprint(end+1)},
		{"before it begins", 5, kept(l.Head(key, 3)), 0, "there is nothing to compare them with"},
		{"just before it begins", 5, kept(l.Head(key, 4)), 0, "there is nothing to compare them with"},
		{"before and after", 5, kept(l.Head(key, 4), longer.Head(key, end+1)), 0, "there is nothing to compare them with"},
		{"not all covered", 1, audit.Trust{Heads: []domain.LogHead{l.Head(key, 3)}, Signed: true}, 3, "no head that you trust covers what comes after position 3"},
	} {
		r, err := given(t, l, audit.Scope{From: test.from, To: end}, test.trust)
		var lacking *audit.Incomplete
		if !errors.As(err, &lacking) || !strings.Contains(err.Error(), test.want) || r.Sure() != test.sure {
			t.Errorf("%s: %v, sure up to %d; want %q and %d", test.name, err, r.Sure(), test.want, test.sure)
		}
	}

	// Heads that come with the log count as signed by a key that the auditor named only.
	for _, test := range []struct {
		trust audit.Trust
		sure  uint64
		want  string
	}{
		{trust(), 0, ""}, {trust(key.ID()), end - 2, ""}, {trust("ed25519-x", key.ID()), end - 2, ""}, {trust("ed25519-x"), 0, "no head of anything in it is signed with ed25519-x"},
	} {
		a, err := test.trust.Begin(whole(l), domain.Chain{})
		if err != nil {
			t.Fatal(err)
		}
		pin, err := test.trust.Pin(l.Head(key, end-2), "the head")
		if err == nil {
			err = a.Expect(pin)
		}
		for i, stored := range l.Stored {
			if err == nil {
				err = a.Add(audit.Entry{Position: uint64(i + 1), Hash: domain.HashOf(stored), Stored: stored})
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		r, err := test.trust.End(a)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%v: %v, want %q", test.trust.Keys, err, test.want)
		}
		if r.Sure() != test.sure {
			t.Errorf("%v: sure up to %d, not %d", test.trust.Keys, r.Sure(), test.sure)
		}
	}
}

// A report claims no more than was shown.
func TestReport(t *testing.T) {
	l, key := audittest.Example(t), audittest.Key(t, 1)
	says := func(scope audit.Scope, trust audit.Trust, proven, not []string) {
		t.Helper()
		r, err := given(t, l, scope, trust)
		if err != nil {
			t.Fatal(err)
		}
		for list, wants := range map[string][]string{strings.Join(r.Proven(), "\n"): proven, strings.Join(r.NotProven(), "\n"): not} {
			for _, want := range wants {
				if with, ok := strings.CutPrefix(want, "!"); ok == strings.Contains(list, with) {
					t.Errorf("%+v, %q: it says\n%s", scope, want, list)
				}
			}
		}
	}
	says(whole(l), audit.Trust{}, []string{"every transition, limit and time", "!byte for byte"}, []string{"could have made another", "!What comes after position", "!older log"})
	says(whole(l), audit.Trust{Heads: []domain.LogHead{l.Head(key, 5)}}, []string{"Up to position 5 it is, byte for byte"},
		[]string{"!could have made another", "What comes after position 5", "nothing came after position " + fmt.Sprint(l.Last())})
	says(audit.Scope{From: 7, To: l.Last()}, audit.Trust{}, []string{"In boundaries that begin here", "1 began before"}, []string{"What was before position 7"})
	says(audit.Scope{Namespace: "acme", From: 1, To: l.Last()}, audit.Trust{}, []string{"every transition"}, []string{"last ones of acme in a boundary could be among them, even all: a revocation may be missing", "!What was before"})
	// All of a namespace's commits can hide among those of others.
	hidden := audit.Scope{Namespace: "nobody", From: 1, To: l.Last()}
	says(hidden, audit.Trust{}, []string{"!every transition"}, []string{"Anything of nobody: no commit", "even all: a revocation may be missing"})
	if r, err := given(t, l, hidden, audit.Trust{}); err != nil || !r.Nothing() {
		t.Errorf("%+v, %v", r, err)
	}
	says(audit.Scope{From: 7, To: l.Last()}, audit.Trust{Heads: []domain.LogHead{l.Head(key, 3), l.Head(key, 9)}}, []string{"Up to position 9"},
		[]string{"heads that you keep of positions up to 3: they say nothing", "What comes after position 9: no head that you trust covers it, so"})
	longer := audittest.Example(t)
	longer.Submit("acme", "acme", "claim_6", "ed25519:six")
	says(audit.Scope{From: 7, To: l.Last()}, audit.Trust{Heads: []domain.LogHead{l.Head(key, 9), longer.Head(key, l.Last()+1)}}, nil,
		[]string{fmt.Sprintf("went on to position %d at least", l.Last()+1), "!That nothing came after"})
}
