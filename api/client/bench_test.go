package client_test

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/claimledger/claimledger/api/client"
	"github.com/claimledger/claimledger/api/httpsig"
)

// IsApproved is asked by several goroutines at once about 10,000 agents while claims
// change. CPU-ns/op is what it costs where the machine has other things to do as well.
func BenchmarkIsApproved(b *testing.B) {
	ledger := newFakeLedger()
	keys := make([]string, 10_000)
	var all []client.FeedChange
	for i := range keys {
		var key [ed25519.PublicKeySize]byte
		binary.BigEndian.PutUint64(key[:], uint64(i))
		keys[i] = httpsig.FormatKey(key[:])
		all = append(all, client.FeedChange{Op: client.OpAdd, Claim: claimOf(fmt.Sprint("claim_", i), "acme", keys[i])})
	}
	cache, err := client.StartCache(newClient("http://ledger.example", inMemory{ledger}), client.CacheConfig{})
	if err != nil {
		b.Fatal(err)
	}
	defer cache.Close()
	if err := cache.Ready(b.Context()); err != nil {
		b.Fatal(err)
	}
	ledger.commit(all...)
	for tick := time.Tick(time.Millisecond); !cache.IsApproved("acme", keys[len(keys)-1]); <-tick {
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() { // a claim comes and goes 100 times a second
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
			case <-stop:
				return
			}
			if i%2 == 0 {
				ledger.approve("claim_other", "acme", "ed25519:other")
			} else {
				ledger.revoke("claim_other")
			}
		}
	}()
	var before, after syscall.Rusage
	b.ReportAllocs()
	b.ResetTimer()
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before) // it shows as 0
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i = (i + 7919) % len(keys) {
			if !cache.IsApproved("acme", keys[i]) {
				b.Error("an approved agent is refused")
				return
			}
		}
	})
	b.StopTimer()
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(used)/float64(b.N), "cpu-ns/op")
}
