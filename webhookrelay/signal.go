package webhookrelay

// signal wakes one waiter. What is raised while nobody waits is kept, once: the waiter
// looks at everything there is anyway.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) raise() {
	select {
	case s <- struct{}{}:
	default:
	}
}
