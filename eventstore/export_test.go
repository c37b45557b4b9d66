package eventstore

// SetPace overrides what the number of replicas decides, before the first append.
func (s *Stream) SetPace(batchFrom, maxPlain, maxBatches int) {
	s.group.pace = pace{batchFrom, maxPlain, maxBatches}
}
