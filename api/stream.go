package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	// heartbeatEvery keeps what is between both ends from taking silence for an end, and
	// tells the caller how old its knowledge is.
	heartbeatEvery = 10 * time.Second
	// streamWrite is how long the caller may take to accept what is sent.
	streamWrite = 10 * time.Second
)

// stream sends what changes as server-sent events (the HTML standard, 9.2), for as long as
// the caller may know and takes it. How it ends is not told: the caller opens it again with
// the last id that it saw, and finds out.
func (s *Server) stream(ctx context.Context, w http.ResponseWriter, c *call, u update) (answer, error) {
	out := &eventWriter{w: w, rc: http.NewResponseController(w)}
	if err := unbounded(w, streamWrite); err != nil {
		return answer{}, err
	}
	sent := answer{status: http.StatusOK, written: true}
	if out.open(u.position) != nil || out.send(u) != nil {
		return sent, nil
	}
	f, u, err := s.join(ctx, c, u, func(u update) (bool, error) { return true, out.send(u) })
	if f == nil || err != nil {
		return sent, nil
	}
	defer s.followers.leave(f)
	u.commits = nil // what was sent is not kept
	heart := time.NewTicker(s.config.Heartbeat)
	defer heart.Stop()
	err = out.beat(u.position, s.followers.known().Age)
	updates, work, beat := f.updates, (chan struct{})(nil), func(at uint64, age time.Duration) {
		err = out.beat(max(at, u.position), age)
	}
	if l := newLine(c.r, u.position); l != nil {
		defer l.close()
		s.followers.attach(f, l)
		updates, work, beat = nil, l.work, l.beat
	}
	for err == nil {
		select {
		case next := <-updates:
			u.position, err = out.sendAll(next.after(u.position), f.updates)
		case <-work:
			err = f.line.drain(f)
		case <-heart.C:
			// Changes that wait to be sent are sign of life enough, and no position past
			// them may be told.
			// The age is looked at first: what becomes known after that is not part of it.
			age := s.followers.known().Age
			if at := s.followers.sent(f); at > 0 {
				beat(at, age)
			}
		case <-f.ended:
			return sent, nil
		case <-ctx.Done():
			return sent, nil
		}
	}
	return sent, nil
}

// eventWriter writes events, each batch within a bounded time. It keeps nothing of them: a
// stream that began with much to tell would hold on to that for as long as it is open.
type eventWriter struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (e *eventWriter) open(position uint64) error {
	h := e.w.Header()
	h.Set("Content-Type", eventStream)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // asks proxies not to collect events before they pass them on
	h.Set(positionHeader, strconv.FormatUint(position, 10))
	e.w.WriteHeader(http.StatusOK)
	return e.rc.Flush()
}

// encodeEvents makes events of changes, one each. Only the last of a commit has an id:
// whoever goes on from there has the whole commit.
func encodeEvents(c commitChanges) []byte {
	var events []byte
	for i, data := range c.changes {
		if i == len(c.changes)-1 {
			events = fmt.Appendf(events, "id: %d\n", c.position)
		}
		events = fmt.Appendf(events, "event: change\ndata: %s\n\n", data)
	}
	return events
}

func (e *eventWriter) send(u update) error {
	if len(u.commits) == 0 {
		return nil
	}
	return e.write(func() error { return e.put(u) })
}

// sendAll sends an update, and those that came while the one before was on its way: to
// whom it is told late it is told at once. It answers up to where.
func (e *eventWriter) sendAll(u update, more <-chan update) (position uint64, err error) {
	err = e.write(func() error {
		for range maxUpdates {
			if err := e.put(u); err != nil {
				return err
			}
			select {
			case next := <-more:
				u = next.after(u.position)
			default:
				return nil
			}
		}
		return e.put(u)
	})
	return u.position, err
}

func (e *eventWriter) put(u update) error {
	for _, c := range u.commits {
		if _, err := e.w.Write(c.events); err != nil {
			return err
		}
	}
	return nil
}

// beat tells that there is nothing new up to a position, and how old that knowledge is.
func (e *eventWriter) beat(position uint64, age time.Duration) error {
	return e.write(func() error {
		_, err := e.w.Write(encodeBeat(position, age))
		return err
	})
}

func encodeBeat(position uint64, age time.Duration) []byte {
	seconds := strconv.FormatFloat(age.Round(time.Millisecond).Seconds(), 'f', -1, 64)
	return fmt.Appendf(nil, "event: heartbeat\ndata: {\"position\":\"%d\",\"age\":%s}\n\n", position, seconds)
}

func (e *eventWriter) write(batch func() error) error {
	if err := e.rc.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
		return err
	}
	if err := batch(); err != nil {
		return err
	}
	return e.rc.Flush()
}
