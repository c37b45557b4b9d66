package api_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

const (
	// An arena's memory grows with what was appended, so it is left for a new one.
	maxArenaCommits = 100_000
	// An accepted request may have ended what the next ones are about.
	acceptedPerEstate = 16
)

// arena is where the executions of a fuzz target call the API: a real ledger, which is
// started once for thousands of them, and in it an estate, which they use up.
type arena struct {
	host     *host
	node     *node
	last     uint64 // position of the log
	estate   *estate
	accepted int // requests that appended, of this estate
	estates  int
}

// newArena starts a ledger, unless this process only hands out work to others.
func newArena(f *testing.F) *arena {
	a := &arena{}
	if value("test.fuzz") == "" || value("test.fuzzworker") == "true" {
		a.open(f.Name())
		f.Cleanup(a.close)
	}
	return a
}

func value(name string) string { return flag.Lookup(name).Value.String() }

func (a *arena) open(name string) {
	ctx, cancel := context.WithCancel(context.Background())
	a.host = &host{name: name, ctx: ctx}
	a.host.Cleanup(cancel)
	heads := &eventstore.MemoryHeads{} // one, and later than any that is asked for
	if _, err := heads.Append(ctx, eventstore.StoredHead{}, logtest.Head(a.host, maxArenaCommits*2)); err != nil {
		a.host.Fatal(err)
	}
	a.node = openLedger(a.host).start(func(s *settings) {
		s.heads, s.signUp = heads, true
	})
	a.last, a.estate = a.node.last(), nil
}

func (a *arena) close() { a.host.close() }

// ready sees to it that there is an estate to be used.
func (a *arena) ready(t *testing.T) *estate {
	t.Helper()
	if a.last > maxArenaCommits {
		name := a.host.name
		a.close()
		a.open(name)
	}
	if a.estate == nil {
		a.estates++
		a.estate = newEstate(t, a.node, a.estates)
		a.last, a.accepted = a.node.last(), 0
	}
	return a.estate
}

// host is the test that an arena belongs to: it outlives the executions, and those of
// testing.F may not be used while they run.
type host struct {
	testing.TB // nil: an arena needs what follows and no more
	name       string
	ctx        context.Context
	cleanups   []func()

	mu  sync.Mutex
	log bytes.Buffer // the latest lines
}

const maxHostLog = 16 << 10

func (h *host) Helper()                           {}
func (h *host) Name() string                      { return h.name }
func (h *host) Context() context.Context          { return h.ctx }
func (h *host) Cleanup(f func())                  { h.cleanups = append(h.cleanups, f) }
func (h *host) Fatal(args ...any)                 { panic(fmt.Sprintln(args...)) }
func (h *host) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (h *host) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (h *host) Output() io.Writer                 { return h }

func (h *host) TempDir() string {
	dir, err := os.MkdirTemp("", "claimledger-fuzz-")
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = os.RemoveAll(dir) }) // what is left of it harms nobody
	return dir
}

func (h *host) Write(line []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.log.Len() > maxHostLog {
		h.log.Reset()
	}
	return h.log.Write(line)
}

// said is what was logged lately.
func (h *host) said() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.String()
}

func (h *host) close() {
	for len(h.cleanups) > 0 {
		last := len(h.cleanups) - 1
		f := h.cleanups[last]
		h.cleanups = h.cleanups[:last]
		f()
	}
}

// estate is what requests are about, under the names that inputs have for it: inputs are
// kept, and must mean the same whenever they are tried.
type estate struct {
	namespace, session, managementKey, serviceKey string
	agent                                         *agent
	names                                         *strings.Replacer
}

func newEstate(t *testing.T, n *node, number int) *estate {
	t.Helper()
	o := n.owner(t, fmt.Sprintf("acme-%d", number))
	s := o.service("weather")
	approved, agent := n.agent(t, o.namespace), n.agent(t, o.namespace)
	everything := map[string]any{"name": "all", "permissions": []string{"read", "update-data", "delete-data", "update-model", "delete-model"}}
	manager := o.ask("POST", "/v1/api-keys", everything).want(201)
	hook := o.ask("POST", "/v1/services/"+s.id+"/webhooks", map[string]any{"url": "https://example.com/hook"}).want(201)
	token, recorded := n.loginToken(o.namespace)
	n.operator(o.namespace, domain.IssueLoginToken{Token: recorded})
	e := &estate{namespace: o.namespace, session: o.session, managementKey: manager.text("rawKey"), serviceKey: s.key, agent: agent}
	e.names = strings.NewReplacer( // no name begins with another
		"$namespace", o.namespace, "$slug", s.slug, "$serviceId", s.id, "$keyId", s.keyID, "$webhookId", hook.text("id"), "$managementId", manager.text("id"),
		"$claimId", s.pending(n.agent(t, o.namespace)), "$approvedId", s.approved(o, approved), "$agentKey", agent.public,
		"$escapedKey", escape(agent.public), "$approvedKey", escape(approved.public), "$token", token,
	)
	// What waits for the feed is not to find it behind.
	eventually(t, "the feed", func() bool {
		return n.send(t, "GET", "/v1/namespaces/claims", nil, bearer(s.key), signedBy(agent.Signer)).status == http.StatusOK
	})
	return e
}
