package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
)

const (
	// fillWorkers is how many claims are on their way at once while the log is filled.
	fillWorkers = 256
	// revokedAfter is how many claims of the same worker are approved before one of them
	// is revoked: its row was loaded long before.
	revokedAfter = 100
	// writesBeside is how many commands a second are given while rows are counted.
	writesBeside  = 100
	writersBeside = 4
	// unboundedWrites is more of them than anything measured here lasts.
	unboundedWrites = 100_000
)

// Rows is rows and how long they took.
type Rows struct {
	Rows int64
	Took time.Duration
}

// filling is a log with many events, and what is done with it.
type filling struct {
	*bench
	commands *commands.Executor
	lives    []*life // one for each worker
}

// life gives commands on claims, one after another: submits, approves, and revokes half of
// those that were approved a while ago.
type life struct {
	commands *commands.Executor
	tenants  []*tenant
	next     int

	submitted *claimOfTenant // and not approved yet
	approved  []claimOfTenant
}

type claimOfTenant struct {
	tenant *tenant
	id     string
}

func rebuildWorkload(name string, wanted float64) workload {
	return workload{
		name: name, unit: perSecond, wanted: wanted,
		what: fmt.Sprintf("rebuild: rows a second of all read models, from its begin to the last one's switch, comparing included, beside %d commands a second",
			writesBeside),
		yardstick: "COPY of the same rows, from a file into empty tables like theirs with the same indexes, beside the same",
		open: across(func(ctx context.Context, b *bench, tenants []*tenant) (*pair, error) {
			f, err := b.fill(ctx, tenants)
			if err != nil {
				return nil, err
			}
			return &pair{ledger: f.measured(b.Program.Rebuild), yardstick: f.measured(b.Program.Copy)}, nil
		}),
	}
}

// fill records events as the ledger does, through commands, and waits until the read
// models have them.
func (b *bench) fill(ctx context.Context, tenants []*tenant) (*filling, error) {
	x, err := b.Program.Executor(ctx, b.ledger.commits)
	if err != nil {
		return nil, err
	}
	f := &filling{bench: b, commands: x}
	for i := range min(fillWorkers, len(tenants)) { // each its own namespaces: none waits for another
		l := &life{commands: x}
		for j := i; j < len(tenants); j += min(fillWorkers, len(tenants)) {
			l.tenants = append(l.tenants, tenants[j])
		}
		f.lives = append(f.lives, l)
	}
	var done atomic.Int64
	_, err = closedLoop(ctx, len(f.lives), b.Events, forever, func(worker, _ int) error {
		if n := done.Add(1); n%100_000 == 0 {
			b.say("rebuild: %d of %d events are recorded", n, b.Events)
		}
		return f.lives[worker].command(ctx)
	})
	if err == nil {
		_, err = b.ledger.settle(ctx)
	}
	return f, err
}

// command gives the next one.
func (l *life) command(ctx context.Context) error {
	l.next++
	var t *tenant
	var cmd domain.ClaimCommand
	switch claim := l.submitted; {
	case l.next%5 == 0 && len(l.approved) > revokedAfter:
		old := l.approved[0]
		l.approved = l.approved[1:]
		t, cmd = old.tenant, domain.Revoke{ClaimID: old.id}
	case claim != nil:
		t, cmd = claim.tenant, domain.Approve{ClaimID: claim.id}
		l.submitted = nil
		l.approved = append(l.approved, *claim)
	default:
		t = l.tenants[l.next%len(l.tenants)]
		l.submitted = &claimOfTenant{t, "claim_" + strings.ToLower(ulid.Make().String())}
		cmd = domain.Submit{
			ClaimID: l.submitted.id, ServiceID: t.service, Service: slug, ServiceNamespace: t.namespace,
			PublicKey: newAgent(), AgentIP: "203.0.113.45", Nonce: rand.Text(), Signer: t.namespace, SignatureNonce: rand.Text(),
			Subject: "agent@example.com", AgentName: "An agent",
		}
	}
	_, r, err := l.commands.Claims(ctx, t.namespace, cmd, commands.Meta{Actor: domain.Actor{Kind: domain.ActorOwner, ID: "owner_bench"}})
	if err == nil && !r.Appended {
		err = errors.New("a command was not recorded")
	}
	return err
}

// measured does something with the rows of the read models while commands are given. A
// round of it lasts as long as it takes.
func (f *filling) measured(what func(ctx context.Context, b Config, dataDir string) (Rows, error)) measure {
	return func(ctx context.Context, _ time.Duration) (Outcome, error) {
		if _, err := f.ledger.settle(ctx); err != nil {
			return Outcome{}, err
		}
		beside, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() {
			lives := f.lives[:min(writersBeside, len(f.lives))]
			_, err := openLoop(beside, len(lives), unboundedWrites, writesBeside, func(worker, _ int) error {
				return lives[worker].command(ctx)
			})
			ended <- err
		}()
		var profile Control // of this process, in which it happens
		if path := f.ledger.profile; path != "" {
			if err := profile.start(path); err != nil {
				stop()
				return Outcome{}, errors.Join(err, ignoreCanceled(<-ended))
			}
		}
		cpu := cpuTime()
		rows, err := what(ctx, f.Config, f.ledger.dir)
		o := Outcome{Done: int(rows.Rows), Elapsed: rows.Took, CPU: cpuTime() - cpu}
		if profile.cpu != nil {
			err = errors.Join(err, profile.stop())
		}
		stop()
		return o, errors.Join(err, ignoreCanceled(<-ended))
	}
}

// ignoreCanceled is what ended commands, unless that was their end.
func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
