package projections

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

func TestGapStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	w.steps(100)
	p := newProjector(t, w.log, newPool(t), ClaimsModel)
	if err := p.activate(t.Context()); err != nil {
		t.Fatal(err)
	}
	rec, err := w.log.At(t.Context(), 5)
	if err != nil {
		t.Fatal(err)
	}
	var stopped *StoppedError
	if err := p.apply(t.Context(), batch{records: []eventstore.Record{rec}}); !errors.As(err, &stopped) || stopped.Position != 1 {
		t.Fatal(err)
	}
}

// inapplicable records a commit that two models cannot apply.
func (w *world) inapplicable() (position uint64, id string) {
	w.t.Helper()
	name := w.names[0]
	c := domain.NewCommit("01BADBADBADBADBADBADBADBAD", domain.ClaimsOf(name), w.now, domain.Actor{Kind: domain.ActorClock},
		domain.CommandRef{}, nil, []domain.Payload{domain.ClaimRevoked{ClaimID: "claim_nobody_knows"}})
	c.Version = 1 << 40
	stored, err := c.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	return w.log.Inject(domain.ClaimsOf(name), stored), c.ID
}

// TestInapplicableCommit: a commit that two models cannot apply stops those two, and
// the commits before it are applied.
func TestInapplicableCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5)
	w.steps(60)
	bad, badID := w.inapplicable()
	w.steps(60)

	pool := newPool(t)
	ps := NewProjectors(w.log, pool, nil)
	defer run(ps)()
	reader := newReader(t, pool)
	ctx, cancel := context.WithTimeout(t.Context(), patienceOfTests)
	defer cancel()
	for _, model := range []string{NamespacesModel, ServicesModel, HistoryModel} {
		if err := reader.Wait(ctx, model, w.last()); err != nil {
			t.Error(err)
		}
	}
	for _, model := range []string{ClaimsModel, FeedModel} {
		if err := reader.Wait(ctx, model, bad-1); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "two models stop", func() bool { return len(stoppedModels(ps)) == 2 })
	for _, s := range ps.Status() {
		want := s.Model == ClaimsModel || s.Model == FeedModel
		if got := s.Stopped != ""; got != want {
			t.Errorf("%s: %q", s.Model, s.Stopped)
		}
		if want && (s.Position != bad-1 || s.Active || !strings.Contains(s.Stopped, badID) || !strings.Contains(s.Stopped, "claim_nobody_knows") || s.LagCommits == 0) {
			t.Errorf("%+v, bad is %d", s, bad)
		}
	}
}

func stoppedModels(ps *Projectors) (models []string) {
	for _, s := range ps.Status() {
		if s.Stopped != "" {
			models = append(models, s.Model)
		}
	}
	return models
}

// TestUnknownCommit: what cannot be read stops every model, right before it.
func TestUnknownCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 6)
	w.steps(60)
	name := w.names[0]
	bad := w.log.Inject(domain.ClaimsOf(name), []byte(`{"id":"01NEW","namespace":"`+name+`","boundary":"claims","version":1099,
		"time":"2026-03-01T12:00:00Z","events":[{"id":"evt_1","type":"claim.postponed","version":1,"data":{}}]}`))
	w.steps(60)
	pool := newPool(t)
	ps := NewProjectors(w.log, pool, nil)
	defer run(ps)()
	eventually(t, "all models stop", func() bool { return len(stoppedModels(ps)) == len(Models()) })
	for _, s := range ps.Status() {
		if s.Position != bad-1 || !strings.Contains(s.Stopped, "claim.postponed") {
			t.Errorf("%+v, bad is %d", s, bad)
		}
	}
	p := newProjector(t, w.log, newPool(t), FeedModel)
	var stopped *StoppedError
	if n, err := p.Step(t.Context()); n != int(bad-1) || !errors.As(err, &stopped) || stopped.Position != bad {
		t.Errorf("%d commits, %v", n, err)
	}
}

// TestOtherLog: a log that is shorter, or has other commits, is not the one that a
// model was built from.
func TestOtherLog(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t, 10), newWorld(t, 11)
	w.steps(60)
	other.steps(60)
	pool := newPool(t)
	catchUp(t, w.log, pool)
	before := dump(t, pool)
	for want, log := range map[string]eventstore.Log{"has another commit there": other.log, "has no commit there": eventstore.NewMemory()} {
		p := newProjector(t, log, pool, ClaimsModel)
		p.patience = 0
		err := p.work(t.Context())
		var stopped *StoppedError
		if !errors.As(err, &stopped) || stopped.Position != w.last() || !strings.Contains(err.Error(), want) || p.Status().Stopped != err.Error() {
			t.Errorf("%v", err)
		}
	}
	if after := dump(t, pool); after != before {
		t.Fatal(firstDifference(before, after))
	}
}

// TestRebuiltAfterItStopped: a read model that was damaged is dropped and built anew, and the
// projectors that it stopped go on with it.
func TestRebuiltAfterItStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 13)
	w.steps(60)
	pool := newPool(t)
	ps := NewProjectors(w.log, pool, nil)
	defer run(ps)()
	reader := newReader(t, pool)
	waitForAll(t, reader, w.last())
	schema, err := ServingSchema(t.Context(), pool, ChainModel)
	if err != nil {
		t.Fatal(err)
	}
	execute(t, pool, "DELETE FROM "+schema+".chain")
	before := w.last()
	for w.last() == before {
		w.step()
	}
	eventually(t, "it stops", func() bool { return slices.Equal(stoppedModels(ps), []string{ChainModel}) })

	execute(t, pool, "DROP SCHEMA "+schema+" CASCADE")
	if err := (&Rebuild{Log: w.log, Pool: pool}).Run(t.Context(), []string{ChainModel}); err != nil {
		t.Fatal(err)
	}
	w.steps(20)
	waitForAll(t, reader, w.last())
	if models := stoppedModels(ps); len(models) > 0 {
		t.Errorf("it says that %v stand still", models)
	}
	checkEqual(t, w, pool)
}

// TestSilentLog: a projector that hears nothing gives the lock up, for another whose
// process may reach the log.
func TestSilentLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 12)
	w.steps(20)
	pool := newPool(t)
	p := newProjector(t, mute{w.log}, pool, ClaimsModel)
	p.patience = 10 * time.Millisecond
	if err := p.follow(t.Context()); !errors.Is(err, errSilent) {
		t.Fatal(err)
	}
}

// mute is a log that never says anything to who follows it.
type mute struct{ eventstore.Log }

func (mute) Follow(ctx context.Context, _ uint64, _ func(eventstore.Record) error, _ func(uint64)) error {
	<-ctx.Done()
	return ctx.Err()
}
