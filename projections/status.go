package projections

import (
	"errors"
	"sync"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// Status says how a projector is doing.
type Status struct {
	Model      string `json:"model"`
	Version    int    `json:"version"`
	Generation int    `json:"generation"` // 0: not known yet
	Position   uint64 `json:"position"`   // of the last commit applied, by whichever projector is active
	// Active says that this projector is the one that works. Elsewhere there may be
	// another.
	Active bool `json:"active"`
	// LagCommits is how many commits the model is behind the log.
	LagCommits uint64 `json:"lag_commits"`
	// LagSeconds is how long ago the model held everything that was in the log: less
	// than two when all is well.
	LagSeconds float64 `json:"lag_seconds"`
	// Applied counts the commits that this projector applied.
	Applied uint64 `json:"applied"`
	// Waiting says what keeps it from working for now, to anyone; it tries again by
	// itself.
	Waiting string `json:"waiting,omitempty"`
	// Stopped says which commit it cannot apply and why; it does not try again before
	// another generation serves.
	Stopped string `json:"stopped,omitempty"`
}

// board is a status that one goroutine writes and others read.
type board struct {
	mu    sync.Mutex
	s     Status
	fresh time.Time // when the model was known to hold everything
	last  uint64    // the log's end
}

func (b *board) init(m Model) {
	b.s.Model, b.s.Version, b.fresh = m.Name, m.Version, time.Now()
}

// Status says how the projector is doing now.
func (p *Projector) Status() Status {
	b := &p.status
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.s
	if b.last > s.Position {
		s.LagCommits = b.last - s.Position
	}
	s.LagSeconds = max(0, time.Since(b.fresh).Seconds())
	return s
}

func (b *board) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// seen takes over what the database says about a generation.
func (b *board) seen(g generation) {
	b.set(func() {
		b.s.Generation, b.s.Position = g.number, g.position
		if g.age != NeverFresh {
			b.fresh = time.Now().Add(-g.age)
		}
	})
}

func (b *board) activate(g generation) {
	b.seen(g)
	b.set(func() { b.s.Active, b.s.Waiting, b.s.Stopped = true, "", "" })
}

func (b *board) stepDown() { b.set(func() { b.s.Active = false }) }

func (b *board) clear() { b.set(func() { b.s.Waiting, b.s.Stopped = "", "" }) }

func (b *board) end(last uint64) { b.set(func() { b.last = max(b.last, last) }) }

func (b *board) applied(commits int, position uint64, fresh time.Time) {
	b.set(func() {
		b.s.Applied += uint64(commits)
		b.s.Position, b.s.Waiting = position, ""
		b.last = max(b.last, position)
		if !fresh.IsZero() {
			b.fresh = fresh
		}
	})
}

// trouble reports whether it is another trouble than before.
func (b *board) trouble(err error) (news bool) {
	var text string
	var known *domain.Error
	switch {
	case errors.Is(err, errLost), errors.Is(err, errSilent):
		text = err.Error()
	case errors.Is(err, eventstore.ErrUnavailable):
		text = eventstore.ErrUnavailable.Error()
	case errors.As(publicError(b.s.Model, err), &known):
		text = known.Message // the error itself names hosts and paths
	}
	b.set(func() {
		news = b.s.Waiting != text
		b.s.Waiting = text
	})
	return news
}

func (b *board) stop(err *StoppedError) {
	b.set(func() { b.s.Waiting, b.s.Stopped = "", err.Error() })
}
