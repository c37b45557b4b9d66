package webhookrelay

import (
	"cmp"
	"time"
)

// AssignerState is what a process's assigner does.
type AssignerState string

const (
	AssignerStarting AssignerState = "starting"
	AssignerActive   AssignerState = "active"
	// AssignerStandby: another process assigns.
	AssignerStandby AssignerState = "standby"
	// AssignerWaiting: the log or the database is away.
	AssignerWaiting AssignerState = "waiting"
	// AssignerStopped: a person must do something, Err says about what. It is tried
	// again now and then, and nothing is ever skipped.
	AssignerStopped AssignerState = "stopped"
)

// Status is how a relay is doing.
type Status struct {
	Assigner AssignerState
	// Position is up to where deliveries are assigned, by whichever process, and Last
	// the log's last position, both a few seconds old at most while they can be read.
	Position, Last uint64
	// Behind is for how long this process has seen something in the log that is not
	// assigned. What was assigned meanwhile does not count, though more may have come.
	Behind time.Duration
	// AssignerErr is why the assigner waits or is stopped.
	AssignerErr error
	// InFlight is how many attempts this process is making.
	InFlight int
	// DelivererErr is why deliveries cannot be read or written.
	DelivererErr error
}

// Status is how the relay is doing now.
func (r *Relay) Status() Status {
	s := Status{}
	r.assigner.mu.Lock()
	s.Assigner, s.Position, s.AssignerErr = r.assigner.state, r.assigner.position, r.assigner.err
	r.assigner.mu.Unlock()
	r.deliverer.mu.Lock()
	s.InFlight = r.deliverer.underway
	for _, l := range r.deliverer.shards {
		s.DelivererErr = cmp.Or(s.DelivererErr, l.err)
	}
	r.deliverer.mu.Unlock()
	s.Last, s.Behind = r.sampler.seen()
	return s
}
