package client_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claimledger/claimledger/api/client"
)

// observed is a cache of a fake ledger, in simulated time, and what it told.
type observed struct {
	*client.Cache
	ledger *fakeLedger
	mu     sync.Mutex
	events []string
}

// observe runs a test with a cache in simulated time. Nothing of the cache may go on after
// Close: the bubble would wait for it in vain.
func observe(t *testing.T, config client.CacheConfig, prepare func(*fakeLedger), test func(*testing.T, *observed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := &observed{ledger: newFakeLedger()}
		prepare(o.ledger)
		config.Observe = func(e client.CacheEvent) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.events = append(o.events, fmt.Sprintf("%s %d", e.Kind, e.Position))
		}
		var err error
		if o.Cache, err = client.StartCache(newClient("http://ledger.example", inMemory{o.ledger}), config); err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		synctest.Wait()
		test(t, o)
	})
}

// after lets time pass, and all that happens then.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (o *observed) want(t *testing.T, when string, approved string) {
	t.Helper()
	var got []string
	for _, key := range []string{"k1", "k2", "k3", "k4", "k5"} {
		if o.IsApproved("acme", key) {
			got = append(got, key)
		}
	}
	if strings.Join(got, " ") != approved {
		t.Errorf("%s: approved are %v, want %s; %+v", when, got, approved, o.Status())
	}
}

func (o *observed) told() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.events, ", ")
}

func three(l *fakeLedger) {
	l.approve("c1", "acme", "k1")
	l.approve("c2", "acme", "k2")
	l.approve("c3", "acme", "k3")
}

func TestCacheFollows(t *testing.T) {
	observe(t, client.CacheConfig{}, three, func(t *testing.T, o *observed) {
		o.want(t, "after the full read", "k1 k2 k3")
		if err := o.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		o.ledger.revoke("c2")
		o.ledger.approve("c4", "acme", "k4")
		synctest.Wait()
		o.want(t, "after changes", "k1 k3 k4")
		if !o.IsApproved("ACME", "k1") || o.IsApproved("globex", "k1") || o.IsApproved("acme", "") {
			t.Error("names are not told apart as the ledger does")
		}
		if claim, ok := o.Lookup("acme", "k4"); !ok || claim.ClaimID != "c4" {
			t.Errorf("looked up %+v", claim)
		}
		// The same agent with another claim, in one commit.
		o.ledger.commit(
			client.FeedChange{Op: client.OpRemove, Claim: claimOf("c1", "acme", "k1")},
			client.FeedChange{Op: client.OpAdd, Claim: claimOf("c5", "acme", "k1")},
		)
		synctest.Wait()
		o.want(t, "after a change of claims", "k1 k3 k4")
		if s := o.Status(); s.Position != 6 || s.Claims != 3 || s.Following != "stream" || s.Syncs != 1 || !s.Fresh || s.Err != nil {
			t.Errorf("the status is %+v", s)
		}
		if got := o.told(); got != "synced 3, streaming 3, advanced 4, advanced 5, advanced 6" {
			t.Errorf("told: %s", got)
		}
		after(time.Hour)
		o.want(t, "after a quiet hour", "k1 k3 k4")
		o.Close()
		o.want(t, "closed", "")
	})
}

// What cannot be refreshed is not answered from, and is again when it could.
func TestCacheFailsClosed(t *testing.T) {
	observe(t, client.CacheConfig{}, three, func(t *testing.T, o *observed) {
		o.ledger.set(func(l *fakeLedger) { l.down = true })
		o.ledger.cutStreams()
		after(29 * time.Second)
		o.want(t, "in time", "k1 k2 k3")
		if s := o.Status(); !s.Fresh || s.Err == nil {
			t.Errorf("the status is %+v", s)
		}
		after(2 * time.Second)
		o.want(t, "too late", "")
		if s := o.Status(); s.Fresh || s.Age < 30*time.Second || s.Claims != 3 {
			t.Errorf("the status is %+v", s)
		}
		o.ledger.set(func(l *fakeLedger) { l.down = false })
		o.ledger.revoke("c1")
		after(15 * time.Second)
		o.want(t, "when it is back", "k2 k3")
		if s := o.Status(); s.Syncs != 1 || s.Err != nil {
			t.Errorf("it read everything again: %+v", s)
		}
		// A node that lags tells so, and its knowledge is no younger for being told now.
		o.ledger.set(func(l *fakeLedger) { l.age = 31 * time.Second })
		after(time.Minute)
		o.want(t, "from a node that lags", "")
	})
}

// An answer that does not say up to where it tells everything, or tells less than was
// asked for, refreshes nothing, whatever stands before the ledger and answers 200.
func TestCacheIsNotRefreshedByAnAnswerWithoutPosition(t *testing.T) {
	for _, answer := range []string{
		`{}`, `null`, `{"status":"maintenance"}`, `{"changes":[]}`, `{"position":"3"}`, `{"changes":[],"position":"2"}`,
		`{"changes":[{"op":"remove","claim":{"claim_id":"c1"}}],"position":"4"}`, `{"changes":[{"op":"remove","position":"4"}],"position":"4"}`,
	} {
		t.Run(answer, func(t *testing.T) {
			observe(t, client.CacheConfig{PollOnly: true}, three, func(t *testing.T, o *observed) {
				o.ledger.set(func(l *fakeLedger) { l.instead = answer })
				after(time.Minute)
				o.want(t, answer, "")
				if s := o.Status(); s.Err == nil || s.Position != 3 {
					t.Errorf("%s: the status is %+v", answer, s)
				}
				o.ledger.set(func(l *fakeLedger) { l.instead = "" })
				after(15 * time.Second)
				o.want(t, "when the ledger answers again", "k1 k2 k3")
			})
		})
	}
	for _, beat := range []string{
		`{}`, `null`, `{"position":"3"}`, `{"age":0}`, `{"position":"2","age":0}`, `{"position":"3","age":-1}`, `{"position":"3","age":1e30}`,
	} {
		t.Run(beat, func(t *testing.T) {
			observe(t, client.CacheConfig{}, three, func(t *testing.T, o *observed) {
				o.ledger.set(func(l *fakeLedger) { l.beat, l.instead = beat, "{}" })
				after(time.Minute)
				o.want(t, beat, "")
			})
		})
	}
	for _, page := range []string{`{}`, `{"status":"maintenance"}`, `{"claims":[]}`} {
		t.Run(page, func(t *testing.T) {
			observe(t, client.CacheConfig{}, func(l *fakeLedger) { three(l); l.instead = page }, func(t *testing.T, o *observed) {
				after(time.Minute)
				if s := o.Status(); s.Syncs != 0 || s.Fresh || s.Err == nil {
					t.Errorf("%s: the status is %+v", page, s)
				}
			})
		})
	}
}

// What comes at once and is long on its way is as old as the way was, and yet a cache that
// hears of changes all the time stays fresh.
func TestCacheCountsTheWayOfAChange(t *testing.T) {
	observe(t, client.CacheConfig{PollOnly: true}, three, func(t *testing.T, o *observed) {
		o.ledger.set(func(l *fakeLedger) { l.way = 14 * time.Second })
		o.ledger.approve("c4", "acme", "k4")
		after(14 * time.Second)
		o.want(t, "when the change came", "k1 k2 k3 k4")
		if s := o.Status(); s.Age < 14*time.Second {
			t.Errorf("the status is %+v", s)
		}
		o.ledger.set(func(l *fakeLedger) { l.way = 0 })
		after(15 * time.Second)
		for range 20 { // at the very end of what a poll waits for, again and again
			o.ledger.approve("c5", "acme", "k5")
			after(9900 * time.Millisecond)
			o.want(t, "among changes", "k1 k2 k3 k4 k5")
		}
	})
}

// Who waits for the cache, or is told that it has read everything, is answered from it.
func TestCacheIsFreshWhenReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLedger()
		three(l)
		l.down = true
		var cache *client.Cache
		told := 0
		ready := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return cache.Ready(ctx)
		}
		cache, err := client.StartCache(newClient("http://ledger.example", inMemory{l}), client.CacheConfig{Observe: func(e client.CacheEvent) {
			if e.Kind != client.CacheSynced {
				return
			}
			told++
			if !cache.IsApproved("acme", "k1") {
				t.Errorf("told that it has read everything, it is %+v", cache.Status())
			}
			if err := ready(); err != nil {
				t.Errorf("told that it has read everything, it is not ready: %v", err)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer cache.Close()
		waited := make(chan bool)
		go func() {
			_ = cache.Ready(t.Context()) // what is answered then says it
			waited <- cache.IsApproved("acme", "k1")
		}()
		l.set(func(l *fakeLedger) { l.down = false })
		if !<-waited {
			t.Error("it is ready, and approves nobody")
		}
		synctest.Wait()
		if told != 1 {
			t.Errorf("told %d times", told)
		}
	})
}

// A cache begins as soon as the ledger does.
func TestCacheBeginsWithTheLedger(t *testing.T) {
	observe(t, client.CacheConfig{}, func(l *fakeLedger) { three(l); l.down = true }, func(t *testing.T, o *observed) {
		o.want(t, "without a ledger", "")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := o.Ready(ctx); err == nil || o.Status().Age >= 0 {
			t.Errorf("it is ready, %+v", o.Status())
		}
		o.ledger.set(func(l *fakeLedger) { l.down = false })
		after(15 * time.Second)
		o.want(t, "with one", "k1 k2 k3")
	})
	observe(t, client.CacheConfig{}, func(l *fakeLedger) { l.down = true }, func(t *testing.T, o *observed) {
		o.Close()
		if o.Ready(t.Context()) == nil {
			t.Error("a cache that was closed is ready")
		}
	})
}

// What is told again, and not to its end, changes nothing.
func TestCacheIgnoresRepetitions(t *testing.T) {
	observe(t, client.CacheConfig{}, three, func(t *testing.T, o *observed) {
		o.ledger.revoke("c1")
		synctest.Wait()
		o.ledger.set(func(l *fakeLedger) { l.repeat, l.down = true, true })
		o.ledger.cutStreams()
		synctest.Wait()
		o.ledger.set(func(l *fakeLedger) { l.down = false })
		after(10 * time.Second)
		o.want(t, "after a repetition", "k2 k3")
	})
}

func TestCacheResync(t *testing.T) {
	observe(t, client.CacheConfig{}, three, func(t *testing.T, o *observed) {
		o.ledger.set(func(l *fakeLedger) { l.down = true })
		o.ledger.cutStreams()
		o.ledger.revoke("c1")
		o.ledger.revoke("c2")
		o.ledger.set(func(l *fakeLedger) { l.kept, l.down = 4, false })
		after(15 * time.Second)
		o.want(t, "after what was forgotten", "k3")
		if s := o.Status(); s.Syncs != 2 || s.Position != 5 {
			t.Errorf("the status is %+v", s)
		}
		// A ledger that was set back: what it told before is worth nothing.
		o.ledger.set(func(l *fakeLedger) { l.position, l.changes, l.kept = 0, nil, 0 })
		o.ledger.approve("d4", "acme", "k4")
		o.ledger.cutStreams()
		after(15 * time.Second)
		o.want(t, "after the ledger was set back", "k4")
	})
}

// A key that has ended ends what may be known, at once.
func TestCacheOfAnEndedKey(t *testing.T) {
	observe(t, client.CacheConfig{}, three, func(t *testing.T, o *observed) {
		o.ledger.set(func(l *fakeLedger) { l.refusal = "SIGNATURE_INVALID" })
		o.ledger.cutStreams()
		after(2 * time.Second)
		o.want(t, "with an ended key", "")
		o.ledger.set(func(l *fakeLedger) { l.refusal = "" })
		after(15 * time.Second)
		o.want(t, "with the key again", "k1 k2 k3")
	})
	// That everything has to be read anew is no time of grace.
	for _, code := range []string{"SIGNATURE_INVALID", "UNAUTHORIZED", "FORBIDDEN"} {
		observe(t, client.CacheConfig{}, three, func(t *testing.T, o *observed) {
			o.ledger.revoke("c3")
			synctest.Wait()
			o.ledger.set(func(l *fakeLedger) { l.kept, l.noPages = 5, code })
			o.ledger.cutStreams()
			after(2 * time.Second)
			o.want(t, "with an ended key during a full read", "")
			o.ledger.set(func(l *fakeLedger) { l.kept, l.noPages = 4, "" })
			after(15 * time.Second)
			o.want(t, "with the key again", "k1 k2")
		})
	}
}

// Where streams do not pass, or break, the cache polls.
func TestCachePolls(t *testing.T) {
	for name, test := range map[string]struct {
		config client.CacheConfig
		set    func(*fakeLedger)
	}{
		"what is answered is no stream": {client.CacheConfig{}, func(l *fakeLedger) { l.noStreams = true }},
		"streams are held back":         {client.CacheConfig{}, func(l *fakeLedger) { l.stall = true }},
		"no stream is wanted":           {client.CacheConfig{PollOnly: true}, func(*fakeLedger) {}},
		"heartbeats are too rare":       {client.CacheConfig{StaleAfter: 3 * time.Second}, func(*fakeLedger) {}},
	} {
		t.Run(name, func(t *testing.T) {
			observe(t, test.config, func(l *fakeLedger) { three(l); test.set(l) }, func(t *testing.T, o *observed) {
				after(10 * time.Second)
				for i := range 30 {
					// A stream that is tried in vain takes 5 seconds, and the pause after it one.
					o.want(t, fmt.Sprintf("after %d changes", i), "k1 k2 k3")
					o.ledger.revoke("c3")
					after(7 * time.Second)
					o.want(t, "revoked", "k1 k2")
					o.ledger.approve("c3", "acme", "k3")
					after(7 * time.Second)
				}
				if s := o.Status(); s.Syncs != 1 {
					t.Errorf("the status is %+v", s)
				}
			})
		})
	}
}

// Streams are tried again, more and more rarely while they do not hold.
func TestCacheReturnsToStreams(t *testing.T) {
	observe(t, client.CacheConfig{}, func(l *fakeLedger) { three(l); l.noStreams = true }, func(t *testing.T, o *observed) {
		after(time.Hour)
		if n := o.ledger.streams; n < 12 || n > 60 {
			t.Errorf("in an hour it tried %d streams", n)
		}
		o.ledger.set(func(l *fakeLedger) { l.noStreams = false })
		after(6 * time.Minute)
		if s := o.Status(); s.Following != "stream" {
			t.Errorf("the status is %+v", s)
		}
	})
}

// A claim ends by its own time, a little early.
func TestCacheExpires(t *testing.T) {
	observe(t, client.CacheConfig{}, func(l *fakeLedger) {
		l.approve("c1", "acme", "k1")
		l.approveUntil("c2", "acme", "k2", time.Now().Add(time.Minute))
		l.approveUntil("c3", "acme", "k3", time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
	}, func(t *testing.T, o *observed) {
		after(time.Minute - 1001*time.Millisecond)
		o.want(t, "before it ends", "k1 k2 k3")
		after(time.Millisecond)
		o.want(t, "a second before it ends", "k1 k3")
		if claims := o.Claims(); len(claims) != 3 || claims[1].ClaimID != "c2" {
			t.Errorf("it has %+v", claims)
		}
	})
}

func TestCacheConfigs(t *testing.T) {
	l := newFakeLedger()
	c := newClient("http://ledger.example", inMemory{l})
	for _, config := range []client.CacheConfig{{StaleAfter: -1}, {Margin: -1}, {Reconnect: -1}, {PageSize: -1}, {PageSize: 2001}} {
		if _, err := client.StartCache(c, config); err == nil {
			t.Errorf("%+v makes a cache", config)
		}
	}
	bare, err := client.New(client.Config{URL: "http://ledger.example"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.StartCache(bare, client.CacheConfig{}); err == nil {
		t.Error("there is a cache without a key")
	}
}
