package api_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// askedHeads are heads that count how often they are asked, and can be away.
type askedHeads struct {
	eventstore.MemoryHeads
	asked atomic.Int64
	fails atomic.Pointer[error]
}

func (h *askedHeads) Last(ctx context.Context) (eventstore.StoredHead, error) {
	h.asked.Add(1)
	if err := h.fails.Load(); err != nil {
		return eventstore.StoredHead{}, *err
	}
	return h.MemoryHeads.Last(ctx)
}

func (h *askedHeads) publish(t *testing.T, position uint64) domain.LogHead {
	t.Helper()
	after, err := h.MemoryHeads.Last(t.Context())
	if err == nil {
		after, err = h.Append(t.Context(), after, logtest.Head(t, position))
	}
	if err != nil {
		t.Fatal(err)
	}
	return after.LogHead
}

func headNode(t *testing.T) (*node, *askedHeads) {
	heads := &askedHeads{}
	return newLedger(t).start(func(s *settings) { s.heads = heads }), heads
}

const headPath = "/v1/log/head"

// least asks for an answer that reflects a position.
func least(position string) option { return set("Ledger-Min-Position", position) }

func TestLogHead(t *testing.T) {
	n, heads := headNode(t)
	n.send(t, "GET", headPath, nil).want(404, domain.CodeNotFound)
	signed := heads.publish(t, 7)
	var r *reply
	eventually(t, "the head", func() bool { r = n.send(t, "GET", headPath, nil); return r.status == http.StatusOK })
	var head domain.LogHead
	r.into(&head)
	if err := head.Verify(); err != nil || head.Chain() != signed.Chain() || r.position() != 7 || r.text("position") != "7" {
		t.Errorf("%s at %d: %v", r.body, r.position(), err)
	}

	// A read may ask for a position, as any other.
	n.send(t, "GET", headPath, nil, least("7")).want(200)
	n.send(t, "GET", headPath, nil, least("08")).want(400, domain.CodeInvalidRequest)
	n.send(t, "GET", headPath, nil, least("9")).want(503, domain.CodeStaleRead)
	asked := heads.asked.Load()
	waits := make(chan *reply)
	go func() { waits <- n.send(t, "GET", headPath, nil, least("9")) }()
	eventually(t, "the read waits", func() bool { return heads.asked.Load() > asked })
	heads.publish(t, 9)
	if r := <-waits; r.status != http.StatusOK || r.position() != 9 {
		t.Errorf("a read that waited answers %d %s", r.status, r.body)
	}
}

// Anyone may ask as often as he likes, without the log being asked each time; and while
// it cannot be, everybody hears that.
func TestLogHeadIsAskedForOnce(t *testing.T) {
	n, heads := headNode(t)
	heads.publish(t, 1)
	began := time.Now()
	const requests = 50
	for range requests {
		n.send(t, "GET", headPath, nil).want(200)
	}
	if asked, seconds := heads.asked.Load(), int64(time.Since(began)/time.Second); asked > seconds+1 {
		t.Errorf("the log was asked %d times in %d seconds", asked, seconds)
	}
	for _, err := range []error{eventstore.ErrUnavailable, errors.New("it is no head")} {
		heads.fails.Store(&err)
		eventually(t, "the refusal", func() bool { return n.send(t, "GET", headPath, nil).status == http.StatusServiceUnavailable })
		heads.fails.Store(nil)
		eventually(t, "the head again", func() bool { return n.send(t, "GET", headPath, nil).status == http.StatusOK })
	}
}
