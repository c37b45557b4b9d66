package commands

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// What a start takes with 10,000 namespaces that have eight commits each, from the log and
// from a snapshot. The log is in memory: what a server takes to send it comes on top.
func BenchmarkLoadDirectory(b *testing.B) {
	const namespaces = 10_000
	memory, kept := eventstore.NewMemory(), &eventstore.MemorySnapshots{}
	for i := range namespaces {
		name := fmt.Sprint("ns-", i)
		var head eventstore.Head
		for j, p := range []domain.Payload{
			domain.NamespaceRegistered{Namespace: name, OwnerID: "owner-" + name},
			domain.LoginTokenIssued{OwnerID: "owner-" + name, TokenHash: domain.HashOf([]byte(name)), ExpiresAt: time.Unix(1_800_000_000, 0)},
			domain.OwnerLoggedIn{OwnerID: "owner-" + name, TokenHash: domain.HashOf([]byte(name)), SessionID: name, ExpiresAt: time.Unix(1_800_000_000, 0)},
			domain.ServiceCreated{ServiceID: "service-" + name, Slug: "weather", Name: "Weather"},
			domain.ServiceKeyCreated{KeyID: "key-" + name, ServiceID: "service-" + name, KeyHash: domain.HashOf([]byte("k" + name)), KeyPrefix: "sk_live_abcd"},
			domain.ManagementKeyCreated{KeyID: "m-" + name, Name: "sync", Permissions: domain.Permissions, KeyHash: domain.HashOf([]byte("m" + name)), LastFour: "wxyz"},
			domain.ServiceUpdated{ServiceID: "service-" + name, Name: "The weather"},
			domain.PolicyChanged{Policy: domain.DefaultPolicy()},
		} {
			c := domain.NewCommit(newID(), domain.RegistryOf(name), time.Unix(1_700_000_000+int64(j), 0).UTC(), domain.Actor{Kind: domain.ActorOperator}, domain.CommandRef{Name: "x"}, nil, []domain.Payload{p})
			r, err := memory.Append(b.Context(), head, c)
			if err != nil {
				b.Fatal(err)
			}
			head = r.Head()
		}
	}
	start := func(kept Snapshots) *Executor {
		x := NewExecutor(Config{
			Log: memory, Now: time.Now, Metrics: NewMetrics(prometheus.NewRegistry()), Logger: logtest.Logger(b), Snapshots: kept,
		})
		if err := x.Load(b.Context()); err != nil || x.directory.Len() != namespaces {
			b.Fatalf("%d namespaces, %v", x.directory.Len(), err)
		}
		return x
	}
	b.Run("log", func(b *testing.B) {
		for b.Loop() {
			start(nil)
		}
	})
	x := start(kept)
	x.saveDirectory(b.Context())
	b.Run("save", func(b *testing.B) {
		for b.Loop() {
			x.saveDirectory(b.Context())
		}
	})
	b.Run("snapshot", func(b *testing.B) {
		for b.Loop() {
			start(kept)
		}
	})
}
