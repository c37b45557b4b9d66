package commands

import (
	"fmt"
	"sync"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// Names that callers make up leave nothing behind.
func TestUnknownNamespacesAreForgotten(t *testing.T) {
	t.Parallel()
	x := newTester(t, eventstore.NewMemory())
	x.namespace("acme")
	for i := range 50 {
		name := fmt.Sprintf("unknown-%d", i)
		_, err := x.registry(name, domain.IssueLoginToken{})
		wantCode(t, "a registry command", err, domain.CodeNotFound)
		_, _, err = x.claim(name, submission("acme"))
		wantCode(t, "a command on claims", err, domain.CodeNotFound)
		wantCode(t, "a query", x.ViewClaims(t.Context(), name, func(*domain.Claims) uint64 { return 0 }), domain.CodeNotFound)
		if x.Directory().View(name, func(*domain.Registry) {}) || x.Heads(name) != 0 {
			t.Errorf("%s is known", name)
		}
	}
	if n, c := len(x.directory.namespaces), x.claims.Len(); n != 1 || c != 0 {
		t.Errorf("%d registries and %d claims are kept, want 1 and 0", n, c)
	}
}

// A namespace is registered elsewhere while somebody here asks for it in vain.
func TestForgettingLosesNothing(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	x, other := newTester(t, memory), newTester(t, memory)
	for i := range 200 {
		name := fmt.Sprintf("acme-%d", i)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() { _, _ = x.registry(name, domain.IssueLoginToken{}) }) // whether it is there yet
		}
		other.must(name, register(), domain.CreateService{ServiceID: name, Slug: "s", Name: "s"})
		group.Wait()
	}
	if err := x.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		name := fmt.Sprintf("acme-%d", i)
		if _, _, ok := x.Directory().Service(name); !ok {
			t.Errorf("the service of %s is not known", name)
		}
		x.must(name, domain.DeactivateNamespace{})
	}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	x := newTester(t, memory)
	x.namespace("acme")
	serviceKey, managementKey := domain.HashOf([]byte("a")), domain.HashOf([]byte("b"))
	all := domain.Permissions
	x.must("acme",
		domain.CreateServiceKey{KeyID: "k1", ServiceID: "acme", Prefix: "sk_live_0000", Hash: serviceKey},
		domain.CreateManagementKey{KeyID: "k2", Name: "k", LastFour: "0000", Permissions: all, Grantor: all, Hash: managementKey})
	known := func(x *Executor) (service, management bool) {
		_, _, _, service = x.Directory().ServiceKey(serviceKey)
		_, _, management = x.Directory().ManagementKey(managementKey)
		return service, management
	}
	loaded := NewExecutor(x.Config)
	if err := loaded.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*Executor{x.Executor, loaded} {
		if service, management := known(x); !service || !management {
			t.Errorf("keys that are known: %t %t", service, management)
		}
		if _, _, _, ok := x.Directory().ServiceKey(managementKey); ok {
			t.Error("a management key passes for a service key")
		}
		if _, _, ok := x.Directory().ManagementKey(serviceKey); ok {
			t.Error("a service key passes for a management key")
		}
	}
	x.must("acme", domain.DeactivateServiceKey{KeyID: "k1", ServiceID: "acme"}, domain.DeactivateManagementKey{KeyID: "k2", Grantor: all})
	if service, management := known(x.Executor); service || management {
		t.Errorf("deactivated keys that are known: %t %t", service, management)
	}
	x.must("acme", domain.DeleteService{ServiceID: "acme"}, domain.DeactivateNamespace{})
	if x.Directory().ServiceExists("acme") || x.Directory().Active("acme") {
		t.Error("what ended goes on")
	}
}
