package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/domain/audit"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections"
	"github.com/claimledger/claimledger/projections/pgdb"
)

// live verifies the log itself, up to where it ends now.
func (c *verifyCommand) live(w *world, trust audit.Trust, shown *progress) (report audit.Report, err error) {
	// What the log's own reader finds wrong is a finding like any other.
	defer func() {
		var broken *eventstore.BrokenError
		if errors.As(eventstore.Broken(err), &broken) {
			err = &audit.Finding{Position: broken.Position, What: broken.Found}
		}
	}()
	stream, closeLog, err := c.joinLog(w.ctx, quiet(c.logger(w.stderr)))
	if err != nil {
		return audit.Report{}, err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	v := &liveAudit{trust: trust, log: stream, heads: stream.Heads(), shown: shown}
	if c.DatabaseURL != "" {
		if err := v.readDatabase(w.ctx, c.DatabaseURL); err != nil {
			return audit.Report{}, err
		}
	}
	return v.run(w.ctx)
}

// readDatabase reads what a PostgreSQL was built up to, and what it serves.
func (v *liveAudit) readDatabase(ctx context.Context, url string) error {
	pool, err := pgdb.Open(ctx, url, pgdb.Options{MaxConns: 2})
	if err != nil {
		return err
	}
	defer pool.Close()
	if v.marks, err = marks(ctx, pool); err != nil {
		return err
	}
	slices.SortFunc(v.marks, func(a, b eventstore.Mark) int { return cmp.Compare(a.Position, b.Position) })
	reader := projections.NewReader(pool)
	defer reader.Close()
	sets, at, err := reader.ClaimSets(ctx)
	v.served, v.servedAt = sets, at.Position
	return err
}

// liveAudit reads a log through, with the heads that were signed for it beside it.
type liveAudit struct {
	trust audit.Trust
	log   eventstore.Log
	heads eventstore.LogHeads
	marks []eventstore.Mark // by position
	shown *progress

	served   map[projections.ClaimState]projections.ClaimSet // nil: nobody was asked
	servedAt uint64

	auditor *audit.Auditor
	head    eventstore.StoredHead // that is expected next, or came last
	last    eventstore.StoredHead
}

func (v *liveAudit) run(ctx context.Context) (audit.Report, error) {
	// The newest head is read before the end, so that the end is not before it.
	var err error
	if v.last, err = v.heads.Last(ctx); err != nil {
		return audit.Report{}, v.unreadable(err)
	}
	end, err := v.log.Last(ctx)
	if err != nil {
		return audit.Report{}, err
	}
	v.trust.All = true
	if v.auditor, err = v.trust.Begin(audit.Scope{From: 1, To: end}, domain.Chain{}); err != nil {
		return audit.Report{}, err
	}
	if err := v.nextHeads(ctx); err != nil {
		return audit.Report{}, err
	}
	err = v.log.ReadAll(ctx, "", 0, func(r eventstore.Record) error {
		if r.Position > end {
			return errReadEnough
		}
		return v.add(ctx, r, end)
	})
	if err != nil && !errors.Is(err, errReadEnough) {
		return audit.Report{}, err
	}
	if at := v.auditor.Chain().Position; at != end {
		return audit.Report{}, &audit.Finding{Position: at, What: fmt.Sprintf("nothing comes after it, and there was a commit at position %d", end)}
	}
	for _, m := range v.marks {
		if m.Position > end {
			return audit.Report{}, &audit.Finding{Position: end, What: fmt.Sprintf("nothing comes after it, and %s was built up to position %d", m.Holder, m.Position)}
		}
	}
	return v.trust.End(v.auditor)
}

// errReadEnough ends a reading where it was to end.
var errReadEnough = errors.New("that is all")

func (v *liveAudit) add(ctx context.Context, r eventstore.Record, end uint64) error {
	v.shown.at(r.Position, end)
	if err := v.auditor.Add(audit.Entry{Position: r.Position, Hash: r.Hash, Stored: r.Stored, Commit: r.Commit}); err != nil {
		return err
	}
	for len(v.marks) > 0 && v.marks[0].Position <= r.Position {
		m := v.marks[0]
		v.marks = v.marks[1:]
		if m.Position == r.Position && m.Hash != r.Hash {
			return &audit.Finding{Position: r.Position, Boundary: r.Commit.Boundary(), CommitID: r.Commit.ID,
				What: fmt.Sprintf("%s was built on another commit there (hash %s, not %s)", m.Holder, m.Hash, r.Hash)}
		}
	}
	if r.Position == v.servedAt {
		if err := v.compareClaims(); err != nil {
			return err
		}
	}
	return v.nextHeads(ctx)
}

// compareClaims compares the claims that the read model serves with those that the log
// makes.
func (v *liveAudit) compareClaims() error {
	made := map[projections.ClaimState]projections.ClaimSet{}
	v.auditor.Each(func(namespace, id string, status domain.Status) {
		state := projections.ClaimState{Namespace: namespace, Status: status}
		made[state] = made[state].Add(id)
	})
	differ := func(state projections.ClaimState) error {
		return &audit.Finding{Position: v.servedAt, What: fmt.Sprintf("the read model serves %d claims of %s as %s, and the log makes %d, or others",
			v.served[state].Claims, state.Namespace, state.Status, made[state].Claims)}
	}
	for state, set := range made {
		if v.served[state] != set {
			return differ(state)
		}
	}
	for state := range v.served {
		if _, ok := made[state]; !ok {
			return differ(state)
		}
	}
	return nil
}

// nextHeads has the log compared with the heads of where it is, and with the next one.
func (v *liveAudit) nextHeads(ctx context.Context) error {
	for v.head.Position <= v.auditor.Chain().Position && v.head.Sequence < v.last.Sequence {
		before := v.head
		h, err := v.heads.At(ctx, before.Sequence+1)
		if err != nil {
			return v.unreadable(err)
		}
		if h.Position < before.Position {
			return &audit.Finding{Position: h.Position, What: fmt.Sprintf("the signed head %d is of it, and the one before of position %d", h.Sequence, before.Position)}
		}
		pin, err := v.trust.Pin(h.LogHead, fmt.Sprintf("the signed head %d", h.Sequence))
		if err == nil {
			err = v.auditor.Expect(pin)
		}
		if err != nil {
			return err
		}
		v.head = h
	}
	return nil
}

// unreadable tells what stands among the heads and is none from what cannot be reached.
func (v *liveAudit) unreadable(err error) error {
	if errors.Is(err, eventstore.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &audit.Finding{What: "the signed heads cannot be read: " + err.Error()}
}
