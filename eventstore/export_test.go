package eventstore

// SetPace overrides what the number of replicas decides.
func (s *Stream) SetPace(batchFrom, maxPlain, maxBatches int) {
	s.group.setPace(pace{batchFrom, maxPlain, maxBatches})
}

// ForgetShared makes the shared reading keep only the last n commits, and returns how
// many it keeps then.
func (s *Stream) ForgetShared(n int) int {
	s.sharing.Lock()
	r := s.reading
	s.sharing.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(n)
	return len(r.records)
}

// LookAfterStaging does at once what the server's process does every few seconds.
func (e *Embedded) LookAfterStaging() { e.staging.intact() }
