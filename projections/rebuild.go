package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/eventstore"
)

// finishAtOnce is how many models are compared and switched to at the same time: a
// comparison is work for one of the server's processors.
const finishAtOnce = 2

// Rebuild builds generations of read models from the log beside those that serve, and
// puts them in their place. It appends nothing to the log and touches nothing that serves
// before the moment of the switch, in which a reader finds either the one or the other,
// and never goes back in time.
//
// What it has done stays done when it ends, however that happens: the next Rebuild of the
// same models goes on from there.
type Rebuild struct {
	Log eventstore.Log
	// Pool has to have room for four connections at once. Each model takes one more, which
	// leaves the pool.
	Pool *pgxpool.Pool
	// Tell hears what is done, one step at a time. It may be nil.
	Tell func(RebuildStep)
	// Confirm is asked, one question at a time, whether a generation may serve that another version of the model
	// made and that differs from the one that does. Nil: none may.
	Confirm func(Comparison) bool

	asking  sync.Mutex
	chunk   int // commits of a chunk that is loaded; 0: from loadFirst to loadBatch
	telling sync.Mutex
}

// RebuildStep is something that a rebuild did or is about to do.
type RebuildStep struct {
	Model      string `json:"model"`
	Generation int    `json:"generation"`
	Step       string `json:"step"` // one of the constants below
	Position   uint64 `json:"position"`
	UpTo       uint64 `json:"up_to,omitempty"` // of Loading: where the loading ends
	// Comparison is set when two generations were compared.
	Comparison *Comparison `json:"comparison,omitempty"`
}

// The steps of a rebuild.
const (
	StepBegun     = "begun"     // a new generation
	StepResumed   = "resumed"   // one that was begun before
	StepLoading   = "loading"   // commits; it is told again and again
	StepIndexing  = "indexing"  // what was loaded
	StepComparing = "comparing" // with the generation that serves
	StepCompared  = "compared"
	StepServes    = "serves" // from now on
)

// DifferentError means that a generation does not serve because it differs from the one
// that does.
type DifferentError struct {
	Comparison Comparison
	// Refused: the versions of the model differ, and nobody confirmed that their
	// generations may.
	Refused bool
}

func (e *DifferentError) Error() string {
	c := e.Comparison
	if e.Refused {
		return fmt.Sprintf("generation %d of the read model %s (version %d) differs from generation %d (version %d), and was not confirmed",
			c.New, c.Model, c.NewVersion, c.Old, c.OldVersion)
	}
	return fmt.Sprintf("generation %d of the read model %s differs from generation %d, though both are of version %d: it does not serve",
		c.New, c.Model, c.Old, c.NewVersion)
}

// errMeanwhile means that what serves was changed under a rebuild.
var errMeanwhile = errors.New("what serves was changed meanwhile; begin again")

// Run rebuilds the named models, or all where none is named. A model that fails leaves
// the others going. Where another process rebuilds one of them, nothing is done at all.
func (r *Rebuild) Run(ctx context.Context, names []string) error {
	builds, err := r.beginAll(ctx, names, r.begin)
	if err != nil {
		return err
	}
	defer closeAll(builds)
	places := make(chan struct{}, finishAtOnce)
	r.load(ctx, builds, func(ctx context.Context, b *build) error {
		places <- struct{}{}
		defer func() { <-places }()
		defer b.Close() // projectors wait for what serves now
		return r.finish(ctx, b)
	})
	var errs []error
	for _, b := range builds {
		if b.err != nil {
			errs = append(errs, fmt.Errorf("rebuild %s: %w", b.model.Name, b.err))
		}
	}
	return errors.Join(errs...)
}

// RollBack has the generations serve again that did before, of the named models or of
// all. They are brought to where those that serve now are, and those are kept in turn. It
// compares nothing: what serves may be what is wrong.
func (r *Rebuild) RollBack(ctx context.Context, names []string) error {
	builds, err := r.beginAll(ctx, names, r.beginKept)
	if err != nil {
		return err
	}
	defer closeAll(builds)
	var errs []error
	for _, b := range builds {
		if err := r.turn(ctx, b, nil); err != nil {
			errs = append(errs, fmt.Errorf("roll back %s: %w", b.model.Name, err))
		}
		b.Close()
	}
	return errors.Join(errs...)
}

// beginAll begins all or none.
func (r *Rebuild) beginAll(ctx context.Context, names []string, begin func(context.Context, *build) error) (builds []*build, err error) {
	chosen, err := modelsByName(names)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, r.Pool); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closeAll(builds)
		}
	}()
	for _, m := range chosen {
		b, err := r.lock(ctx, m)
		if err != nil {
			return builds, fmt.Errorf("rebuild %s: %w", m.Name, err)
		}
		builds = append(builds, b)
	}
	for _, b := range builds {
		if err := begin(ctx, b); err != nil {
			return builds, fmt.Errorf("rebuild %s: %w", b.model.Name, err)
		}
	}
	return builds, nil
}

// modelsByName gives the named models once each; all where no name is given.
func modelsByName(names []string) ([]Model, error) {
	if len(names) == 0 {
		return Models(), nil
	}
	for _, name := range names {
		if _, err := modelByName(name); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(Models(), func(m Model) bool { return !slices.Contains(names, m.Name) }), nil
}

// finish compares what was loaded, and has it serve.
func (r *Rebuild) finish(ctx context.Context, b *build) error {
	c, err := r.compare(ctx, b)
	switch {
	case err != nil:
		return err
	case c == nil: // with nothing
		return r.turn(ctx, b, nil)
	}
	r.tell(b, RebuildStep{Step: StepCompared, Comparison: c})
	if !c.Equal() {
		if c.OldVersion == c.NewVersion {
			if err := b.become(ctx, stateDifferent); err != nil {
				return err
			}
			return &DifferentError{Comparison: *c}
		}
		if !r.confirmed(*c) {
			return &DifferentError{Comparison: *c, Refused: true}
		}
	}
	return r.turn(ctx, b, &c.Old)
}

func (r *Rebuild) confirmed(c Comparison) bool {
	r.asking.Lock()
	defer r.asking.Unlock()
	return r.Confirm != nil && r.Confirm(c)
}

// tell tells a step of a build.
func (r *Rebuild) tell(b *build, s RebuildStep) {
	if r.Tell == nil {
		return
	}
	s.Model, s.Generation, s.Position = b.model.Name, b.tenure.number, b.tenure.position
	r.telling.Lock()
	defer r.telling.Unlock()
	r.Tell(s)
}
