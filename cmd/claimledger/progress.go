package main

import (
	"fmt"
	"io"
	"time"
)

// How often progress is shown: on a terminal in one line, elsewhere in a line each.
const (
	progressLive  = 200 * time.Millisecond
	progressPlain = 10 * time.Second
)

// progress shows how far long work has come. What is over before it was due to be shown
// shows nothing.
type progress struct {
	out   io.Writer
	what  string
	live  bool
	next  time.Time
	shown bool
}

func newProgress(out io.Writer, what string) *progress {
	p := &progress{out: out, what: what, live: isTerminal(out)}
	p.next = time.Now().Add(p.every())
	return p
}

func (p *progress) every() time.Duration {
	if p.live {
		return progressLive
	}
	return progressPlain
}

func (p *progress) at(done, of uint64) {
	now := time.Now()
	if now.Before(p.next) || of == 0 {
		return
	}
	p.next, p.shown = now.Add(p.every()), true
	line := fmt.Sprintf("%s: %d of %d (%d %%)", p.what, done, of, done*100/of)
	if p.live {
		fmt.Fprintf(p.out, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(p.out, line)
}

// end makes place for what is said of the outcome.
func (p *progress) end() {
	if p.live && p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
