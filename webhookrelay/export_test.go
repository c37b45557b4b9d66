package webhookrelay

import "time"

// Unpolled has a relay look for something to do only when it is told that there is.
func (r *Relay) Unpolled() *Relay {
	r.deliverer.idle, r.deliverer.busy = time.Hour, time.Hour
	return r
}
