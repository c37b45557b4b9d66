package bench

import (
	"syscall"
	"time"
)

// pause sleeps for less than a timer of the runtime would, which wakes a process that
// has nothing else to do to the millisecond only: more than an operation takes.
func pause(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil) // woken early, the caller sleeps on
}
