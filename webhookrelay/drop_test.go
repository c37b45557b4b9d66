package webhookrelay_test

import (
	"testing"

	"github.com/claimledger/claimledger/webhookrelay"
)

// A relay that forgot everything sends every event again, the same as before; the schema
// with what was granted on it is the one that it was.
func TestDrop(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	w.approve("claim_1")
	r := w.relay(nil)
	w.assign(r)
	w.deliverAll(r)
	id := func() (oid uint32) {
		t.Helper()
		if err := w.pool.QueryRow(t.Context(), "SELECT oid FROM pg_namespace WHERE nspname = 'webhookrelay'").Scan(&oid); err != nil {
			t.Fatal(err)
		}
		return oid
	}
	before := id()
	for range 2 { // again does no harm
		if err := webhookrelay.Drop(t.Context(), w.pool); err != nil {
			t.Fatal(err)
		}
	}
	if marks, err := webhookrelay.Marks(t.Context(), w.pool); err != nil || marks != nil {
		t.Errorf("marks of what was dropped: %v, %v", marks, err)
	}
	if id() != before {
		t.Error("the schema is another")
	}
	w.pool.Reset() // as the next process begins
	if err := webhookrelay.Setup(t.Context(), w.pool); err != nil {
		t.Fatal(err)
	}
	r = w.relay(nil)
	if n := w.assign(r); n != 3 {
		t.Errorf("read %d commits, want 3", n)
	}
	w.deliverAll(r)
	got := rc.all()
	if len(got) != 4 {
		t.Fatalf("%d requests came, want 4", len(got))
	}
	for i := range 2 {
		if string(got[i].body) != string(got[i+2].body) {
			t.Errorf("sent again: %s, not %s", got[i+2].body, got[i].body)
		}
	}
}
