package commands

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

const (
	// maxWaiting bounds how many commands wait for their turn at one boundary: about what
	// a slow disk records in the time that callers have.
	maxWaiting = 4096
	// maxAhead bounds how far the decisions at one boundary run ahead of the disk: what
	// goes into one batch, and a fraction of what the log takes on of all of them.
	maxAhead = 1000
)

// folded is a state that commits are folded into.
type folded interface {
	Apply(*domain.Commit) error
	Version() uint64
	Time() time.Time
}

// tentative is a state that decisions may run ahead in: commits are folded in before it
// is certain that they are recorded.
type tentative interface {
	ApplyAhead(*domain.Commit) error
	Settle()   // the oldest of them is recorded
	Withdraw() // none of them is
}

// boundary holds the state of one boundary in memory and keeps it current.
//
// deciding, a lock that can be waited for with a deadline, serialises the commands of
// this process, so that they don't conflict with each other. Where the state is a
// tentative one, it is given back when a commit is on its way to the disk, and the next
// decision rests on that commit; otherwise when it has arrived. mu guards the state and
// is held only to look at it or to fold a commit in, never while a disk is waited for.
type boundary[S folded] struct {
	id  domain.Boundary
	log eventstore.Log

	deciding chan struct{}
	waiting  atomic.Int64 // for deciding
	asking   asking

	loaded chan struct{} // closed when the first load ended, well or not
	mu     sync.RWMutex
	state  S
	head   eventstore.Head     // the last commit that is certain
	ahead  []*link             // those behind it in the state, oldest first
	early  []eventstore.Record // came by following while loading
	err    error               // the state cannot be trusted
}

// link is a commit that went ahead, and the one that went ahead behind it, which was
// decided in a later turn.
type link struct {
	*eventstore.Pending
	next *link // guarded by the boundary's mu
}

func newBoundary[S folded](id domain.Boundary, log eventstore.Log, empty S) *boundary[S] {
	b := &boundary[S]{id: id, log: log, state: empty, deciding: make(chan struct{}, 1), loaded: make(chan struct{})}
	b.asking.ask = func(ctx context.Context) (eventstore.Head, error) { return log.Tail(ctx, id) }
	if g, ok := log.(gathering); ok {
		b.asking.gather = g.gather
	}
	return b
}

// lock waits for the turn to decide, unless too many do, and for room to do it in; the
// caller calls unlock when err is nil.
func (b *boundary[S]) lock(ctx context.Context) error {
	defer b.waiting.Add(-1)
	if b.waiting.Add(1) > maxWaiting {
		return unavailable("Too many commands are waiting for this namespace; nothing was recorded.", nil)
	}
	select {
	case b.deciding <- struct{}{}:
	case <-ctx.Done():
		return errNoTurn(ctx)
	}
	if err := b.room(ctx); err != nil {
		b.unlock()
		return err
	}
	return nil
}

// room waits until another commit may go ahead.
func (b *boundary[S]) room(ctx context.Context) error {
	for {
		first := b.full()
		if first == nil {
			return nil
		}
		select {
		case <-first.Done():
			b.settle()
		case <-ctx.Done():
			return errNoTurn(ctx)
		}
	}
}

func errNoTurn(ctx context.Context) error {
	return unavailable("Too many commands are waiting for this namespace; nothing was recorded.", ctx.Err())
}

// full gives the commit that has to end before another goes ahead; nil where there is room.
func (b *boundary[S]) full() *link {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if len(b.ahead) < maxAhead {
		return nil
	}
	return b.ahead[0]
}

func (b *boundary[S]) unlock() { <-b.deciding }

// known is a state that is known up to a commit, without having read the log.
type known[S folded] struct {
	state S
	head  eventstore.Head
}

// load reads the boundary from what is known of it, if anything is, and else from its
// start: then the error says why what is known does not fit. What follow hands over
// meanwhile waits.
func (b *boundary[S]) load(ctx context.Context, from *known[S]) (misfit error) {
	var err error
	if from != nil {
		err = b.read(ctx, from)
	}
	var unfit *domain.Error
	if errors.As(err, &unfit) {
		from, misfit = nil, err
	}
	if from == nil {
		from = &known[S]{state: b.state}
		err = b.read(ctx, from)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	defer close(b.loaded) // before anyone may follow again: what waits is folded in here only
	b.state, b.head, b.err = from.state, from.head, err
	for _, r := range b.early {
		b.fold(r)
	}
	b.early = nil
	return misfit
}

// read takes what is known on to the log's end.
func (b *boundary[S]) read(ctx context.Context, k *known[S]) error {
	return b.log.Read(ctx, b.id, k.head.Position, func(r eventstore.Record) (err error) {
		k.head, err = next(k.state, k.head, r)
		return err
	})
}

// start makes a boundary ready whose commits all come through follow.
func (b *boundary[S]) start() { close(b.loaded) }

// wait waits for the first load.
func (b *boundary[S]) wait(ctx context.Context) error {
	select {
	case <-b.loaded:
	case <-ctx.Done():
		return unavailable("The ledger took too long to load this namespace.", ctx.Err())
	}
	return b.failure()
}

// failure tells why the state cannot be trusted; nil when it can.
func (b *boundary[S]) failure() error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.err
}

// follow takes a commit that was appended by anyone.
func (b *boundary[S]) follow(r eventstore.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.loaded:
		b.fold(r)
	default:
		b.early = append(b.early, r)
	}
}

// fold applies a commit unless the state has it already: a process learns of its own
// commits twice. The caller holds mu.
func (b *boundary[S]) fold(r eventstore.Record) {
	switch {
	case b.err != nil || r.Commit.Version < b.head.Version:
	case r.Commit.Version == b.head.Version:
		if r.Hash != b.head.Hash {
			b.err = corrupt(replaced(b.head, r.Hash))
		}
	case len(b.ahead) > 0 && r.Hash == b.ahead[0].Head().Hash:
		b.confirm(r.Head())
	default:
		b.withdraw()
		b.head, b.err = next(b.state, b.head, r)
	}
}

// next applies the commit that follows a head. A log that lost commits and gave their
// versions to others goes on in unbroken numbers; that what comes does not follow what is
// known shows in the hashes.
func next[S folded](state S, head eventstore.Head, r eventstore.Record) (eventstore.Head, error) {
	if r.Commit.Version == head.Version+1 && r.Commit.Prev != head.Hash {
		return head, corrupt(replaced(head, r.Commit.Prev))
	}
	if err := state.Apply(r.Commit); err != nil {
		return head, corrupt(err)
	}
	return r.Head(), nil
}

// replaced is for a log that has another commit in the place of one that this process
// knows.
func replaced(known eventstore.Head, found domain.Hash) error {
	return &eventstore.BrokenError{
		Position: known.Position,
		Found:    fmt.Sprintf("it has another commit (hash %s) in the place of one that this process knows (hash %s)", found, known.Hash),
	}
}

// goAhead folds in a commit that was begun on what stood last in the state. Meanwhile a
// rival's may have come, and then this one comes to nothing; or it came itself. One that
// was not taken on is nothing to go on from.
func (b *boundary[S]) goAhead(p *eventstore.Pending) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last, behind := b.last()
	c := p.Commit()
	if b.err != nil || c == nil || failed(p) || c.Version != last.Version+1 || c.Prev != last.Hash {
		return
	}
	if err := any(b.state).(tentative).ApplyAhead(c); err != nil {
		b.err = corrupt(err)
		return
	}
	l := &link{Pending: p}
	if behind != nil {
		behind.next = l
	}
	b.ahead = append(b.ahead, l)
}

// failed reports whether it is known already that a commit was not recorded.
func failed(p *eventstore.Pending) bool {
	select {
	case <-p.Done():
		_, err := p.Wait()
		return err != nil
	default:
		return false
	}
}

// settle takes in how the commits that are ahead came out, as far as that is known. What
// stands behind one that was not recorded isn't recorded either.
func (b *boundary[S]) settle() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.ahead) > 0 {
		select {
		case <-b.ahead[0].Done():
		default:
			return
		}
		r, err := b.ahead[0].Wait()
		if err != nil {
			b.withdraw()
			return
		}
		b.confirm(r.Head())
	}
}

func (b *boundary[S]) tentative() bool {
	_, ok := any(b.state).(tentative)
	return ok
}

// confirm and withdraw want mu to be held.
func (b *boundary[S]) confirm(head eventstore.Head) {
	any(b.state).(tentative).Settle()
	b.head = head
	b.ahead[0] = nil
	b.ahead = b.ahead[1:]
}

func (b *boundary[S]) withdraw() {
	if len(b.ahead) > 0 {
		any(b.state).(tentative).Withdraw()
		b.ahead = nil
	}
}

// await waits for the end of a commit that is ahead, as long as ctx lasts, and reports
// whether it was recorded.
func (b *boundary[S]) await(ctx context.Context, p *eventstore.Pending) (eventstore.Record, bool, error) {
	if !ended(ctx, p) {
		return eventstore.Record{}, false, unavailable("The ledger's log takes too long to record what this rests on; nothing can be said for sure.", ctx.Err())
	}
	r, err := p.Wait()
	b.settle()
	return r, err == nil, nil
}

// ended waits until it is known how a commit came out, or ctx ends and it is not.
func ended(ctx context.Context, p *eventstore.Pending) bool {
	select {
	case <-p.Done():
		return true
	case <-ctx.Done():
	}
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// view runs f on the state, with all that is ahead. f must not keep it.
func (b *boundary[S]) view(f func(S)) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	f(b.state)
}

// last is what a decision on the state rests on, and the commit that it is, where that
// is ahead. The caller holds mu.
func (b *boundary[S]) last() (eventstore.Head, *link) {
	if n := len(b.ahead); n > 0 {
		return b.ahead[n-1].Head(), b.ahead[n-1]
	}
	return b.head, nil
}

// certain runs f on the state until what it saw is certain; f gives the version that this
// rests on.
func (b *boundary[S]) certain(ctx context.Context, f func(S) (version uint64)) error {
	for {
		p := b.look(f)
		if p == nil {
			return nil
		}
		if _, recorded, err := b.await(ctx, p.Pending); recorded || err != nil {
			return err
		}
	}
}

// look gives the commit that is ahead and has the version that f gives; nil where that is
// certain.
func (b *boundary[S]) look(f func(S) (version uint64)) *link {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if version := f(b.state); version > b.head.Version {
		return b.ahead[version-b.head.Version-1]
	}
	return nil
}

// at is the last commit that is certain.
func (b *boundary[S]) at() eventstore.Head {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.head
}

// catchUp reads what was appended since.
func (b *boundary[S]) catchUp(ctx context.Context) error {
	err := b.log.Read(ctx, b.id, b.at().Position, func(r eventstore.Record) error {
		b.follow(r)
		return nil
	})
	if err != nil {
		return logError(err)
	}
	return b.failure()
}

// reach catches up where the state is older than a version that is known to be there.
func (b *boundary[S]) reach(ctx context.Context, version uint64) error {
	if b.at().Version >= version {
		return nil
	}
	return b.catchUp(ctx)
}

// stood reports whether a commit that was recorded was the log's last at a moment after
// something was decided on it. That it was recorded proves nothing: this process may hear
// of it long after, when others have come behind it. What was decided later, and recorded
// right behind it, does; so that where many decide nobody has to ask the log.
func (b *boundary[S]) stood(ctx context.Context, l *link) (bool, error) {
	b.mu.RLock()
	next := l.next
	b.mu.RUnlock()
	if next != nil {
		if _, recorded, err := b.await(ctx, next.Pending); recorded || err != nil {
			return recorded, err
		}
	}
	return b.current(ctx, l.Head())
}

// current reports whether the head is still the log's last, and catches up where not.
// The state may have moved on by itself meanwhile, which is no proof for what was seen
// in it before.
func (b *boundary[S]) current(ctx context.Context, head eventstore.Head) (bool, error) {
	tail, err := b.asking.tail(ctx)
	if err != nil {
		return false, logError(err)
	}
	switch {
	case tail == head:
		return true, nil
	case tail.Version > head.Version:
		return false, b.catchUp(ctx)
	case tail.Version == head.Version:
		return false, logError(replaced(head, tail.Hash))
	default:
		// It has lost commits, or its leader was deposed and does not know it yet.
		return false, unavailable("The ledger's log shows less than was recorded; nothing was recorded, and nothing can be said for sure.", nil)
	}
}

// corrupt is for a log that this program cannot fold: it must not be decided on.
func corrupt(err error) error {
	return &domain.Error{
		Code:    domain.CodeServiceUnavailable,
		Message: "The record of this namespace cannot be read; its operator has to look at it.",
		Err:     fmt.Errorf("fold: %w", err),
	}
}
