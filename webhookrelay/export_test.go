package webhookrelay

import "time"

// Unpolled has a relay look for something to do only when it is told that there is.
func (r *Relay) Unpolled() *Relay {
	r.deliverer.idle, r.deliverer.busy = time.Hour, time.Hour
	return r
}

// ListSQL is the statement that lists the deliveries in a state.
func ListSQL(s State) string { return listSQL[s] }

// InMemory is how many deliveries the relay has there.
func (r *Relay) InMemory() (n int) {
	d := r.deliverer
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.hooks {
		n += len(h.rows) + len(h.underway)
	}
	return n
}

// Owner is what the relay's tokens have in them.
func (r *Relay) Owner() string { return r.deliverer.presence.owner }
