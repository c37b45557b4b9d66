package api

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"
)

type connKey struct{}

// ConnContext lets streams of changes write to their connections without going through the
// server's own buffers, which costs half as much. It is for a server's ConnContext, and only
// where nothing between the server and the API changes what is written.
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// line is the connection of a stream that is open. Whoever tells a thousand streams of a
// change writes the same bytes to each, for as long as its client takes them at once; to
// wake a goroutine for each costs as much again. What a client does not take at once is its
// own goroutine's to write, and until that is done whatever comes waits in its queue.
type line struct {
	conn net.Conn
	raw  syscall.RawConn
	work chan struct{} // has one while there is something to do for the stream's goroutine

	mu       sync.Mutex
	busy     bool   // the stream's goroutine writes, or is about to
	closed   bool   // nothing is written any more
	rest     []byte // of what was begun
	position uint64 // of what was written last
}

// newLine gives the line of a request whose answer has begun, which went up to a position.
// It is nil where the connection is not ours to write to: its answers share it, are not in
// chunks or are encrypted.
func newLine(r *http.Request, position uint64) *line {
	conn, ok := r.Context().Value(connKey{}).(interface {
		net.Conn
		syscall.Conn
	})
	if !ok || r.ProtoMajor != 1 || r.ProtoMinor != 1 {
		return nil
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		err = conn.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		return nil
	}
	l := &line{conn: conn, raw: raw, work: make(chan struct{}, 1), busy: true, position: position}
	l.work <- struct{}{} // to look whether something came meanwhile
	return l
}

// chunk is bytes as a chunk of an answer (RFC 9112, 7.1).
func chunk(b []byte) []byte {
	c := make([]byte, 0, len(b)+20)
	c = append(strconv.AppendInt(c, int64(len(b)), 16), "\r\n"...)
	return append(append(c, b...), "\r\n"...)
}

// chunk is the events of an update as one chunk.
func (u update) chunk() []byte {
	var b []byte
	for _, c := range u.commits {
		b = append(b, c.events...)
	}
	return chunk(b)
}

// tell writes an update, of which whole is all in one chunk, or queues it.
func (l *line) tell(u update, whole []byte, queue func(update) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return true
	case l.busy:
		return queue(u)
	case u.commits[0].position <= l.position:
		if u = u.after(l.position); len(u.commits) == 0 {
			return true
		}
		whole = u.chunk()
	}
	l.position = u.position
	l.write(whole)
	return true
}

// beat writes a heartbeat, unless something is written already.
func (l *line) beat(position uint64, age time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.busy && !l.closed {
		l.write(chunk(encodeBeat(max(position, l.position), age)))
	}
}

// write writes what the client takes at once, and leaves the rest to the stream's goroutine.
// That finds out as well where the connection is gone. The caller holds mu.
func (l *line) write(b []byte) {
	n := writeNow(l.raw, b)
	if n == len(b) {
		return
	}
	l.rest, l.busy = b[n:], true
	l.work <- struct{}{} // who was busy last has taken the one before
}

// writeNow writes as much as can be written without waiting. An error is not told: it comes
// again with the next write.
func writeNow(raw syscall.RawConn, b []byte) (n int) {
	_ = raw.Write(func(fd uintptr) bool {
		var err error
		for again := true; again; again = err == syscall.EINTR {
			n, err = syscall.Write(int(fd), b)
		}
		n = max(n, 0)
		return true
	})
	return n
}

// drain writes what was left and what came meanwhile, each within a bounded time.
func (l *line) drain(f *follower) error {
	for {
		b := l.next(f)
		if b == nil {
			return nil
		}
		if err := l.conn.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
			return err
		}
		n, err := l.conn.Write(b)
		if err == nil {
			err = l.conn.SetWriteDeadline(time.Time{}) // or the next write would be too late
		}
		l.mu.Lock()
		l.rest = b[n:]
		l.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// next is what is to be written next; nil: nothing, and the line is not busy any more, or
// stays so where the follower has ended.
func (l *line) next(f *follower) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.rest) == 0 {
		select {
		case <-f.ended: // what waits is not for one who may not be told any more
			return nil
		default:
		}
		select {
		case u := <-f.updates:
			if u = u.after(l.position); len(u.commits) > 0 {
				l.rest, l.position = u.chunk(), u.position
			}
		default:
			l.rest, l.busy = nil, false
			return nil
		}
	}
	return l.rest
}

// close gives the connection back to the server, to end the answer with: but where a chunk
// was begun and not ended, nothing that follows would be understood.
func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if len(l.rest) > 0 {
		_ = l.conn.Close() // the server finds out when it writes
		return
	}
	_ = l.conn.SetWriteDeadline(time.Now().Add(streamWrite)) // fails where it is closed already
}
