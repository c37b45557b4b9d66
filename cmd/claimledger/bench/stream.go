package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// streamChanges is how many claims are revoked in a second.
	streamChanges = 200
	// streamWorkers is over how many connections.
	streamWorkers = 32
	// streamWatched is how many of the clients note when they are told. The others take
	// what they are sent, and do not look at it.
	streamWatched = 50
	// streamOpening is how many streams are opened at once: each looks at the database.
	streamOpening = 16
	// firstStreamed is where the namespaces of this workload begin.
	firstStreamed = oneNamespace + 1 + verifyNamespaces
)

// streaming is gateways that follow one service while its claims are revoked.
type streaming struct {
	*bench
	clients, watched int
	tenant           *tenant
}

// streamWorkload has both sides under one load: how soon a client knows of a revocation,
// and how long the owner waits for the answer to it, each from when it is sent.
func streamWorkload(name string, clients int, wanted float64) workload {
	return workload{
		name: name, unit: median, wanted: wanted,
		what:      fmt.Sprintf("from a revoke to the event in a client's stream, %d clients of one service", clients),
		yardstick: "the answer to that revoke, under the same load",
		open: func(ctx context.Context, b *bench) (*pair, error) {
			tenants, err := b.newTenants(ctx, firstStreamed, 1, approving)
			if err != nil {
				return nil, err
			}
			s := &streaming{bench: b, clients: b.connections(clients), tenant: tenants[0]}
			s.watched = min(s.clients, streamWatched)
			if _, _, err := s.measure(ctx, min(warmUp, b.Duration)); err != nil {
				return nil, err
			}
			return together(s.measure, streamChanges), nil
		},
	}
}

// measure revokes claims at a steady rate while the clients listen.
func (s *streaming) measure(ctx context.Context, d time.Duration) (told, answered Outcome, err error) {
	claims, err := s.submitAll(ctx, []*tenant{s.tenant}, max(1, int(streamChanges*d.Seconds())))
	if err != nil {
		return told, answered, err
	}
	requests, err := decisions(claims, "revoke")
	if err != nil {
		return told, answered, err
	}
	since, err := s.ledger.commits.Last(ctx)
	if err != nil {
		return told, answered, err
	}
	watch := newWatch(claims)
	listeners, err := s.listen(ctx, since, watch, d)
	if err != nil {
		return told, answered, err
	}
	defer listeners.close()
	conns, err := connect(ctx, s.ledger.address, s.connections(streamWorkers), d)
	if err != nil {
		return told, answered, err
	}
	defer conns.close()
	conns.status, conns.answers = http.StatusOK, make([][]byte, len(requests))
	answers := make([]time.Duration, len(requests))
	answered, err = s.ledger.during(ctx, func() (Outcome, error) {
		return openLoop(ctx, len(conns.all), len(requests), streamChanges, func(worker, i int) error {
			begun := time.Now()
			watch.sent[i].Store(int64(begun.Sub(watch.began)))
			err := conns.send(worker, i, requests[i])
			answers[i] = time.Since(begun)
			return err
		})
	})
	if err != nil {
		return told, answered, err
	}
	told = answered
	if told.Latencies, err = listeners.finish(ctx); err != nil {
		return told, answered, err
	}
	told.Done = len(told.Latencies)
	answered.Latencies = answers
	told.sort()
	answered.sort()
	return told, answered, nil
}

// watch is when each claim was sent to be revoked.
type watch struct {
	began time.Time
	sent  []atomic.Int64 // since began
	index map[string]int
}

func newWatch(claims []pending) *watch {
	w := &watch{began: time.Now(), sent: make([]atomic.Int64, len(claims)), index: map[string]int{}}
	for i, c := range claims {
		w.index[c.ClaimID] = i
	}
	return w
}

// listeners are the clients with their open streams.
type listeners struct {
	all     []net.Conn
	watched []*listener
	wg      sync.WaitGroup
	closing atomic.Bool
	broken  atomic.Pointer[error] // why a stream ended that was not closed; the first
}

func (l *listeners) lost() error {
	if err := l.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// listener is a client that notes when it is told.
type listener struct {
	latencies []time.Duration
	done      chan struct{} // closed when it was told of everything
}

// listen opens the streams, and waits until each has its first heartbeat.
func (s *streaming) listen(ctx context.Context, since uint64, w *watch, d time.Duration) (*listeners, error) {
	l := &listeners{all: make([]net.Conn, s.clients)}
	for range s.watched {
		l.watched = append(l.watched, &listener{done: make(chan struct{})})
	}
	_, err := closedLoop(ctx, min(s.clients, streamOpening), s.clients, forever, func(_, i int) error {
		conn, in, err := s.open(ctx, since, d)
		if err != nil {
			return err
		}
		l.all[i] = conn
		l.wg.Go(func() {
			err := errors.New("it ended")
			if i < len(l.watched) {
				err = l.watched[i].follow(in, w)
			} else if _, copyErr := io.Copy(io.Discard, in); copyErr != nil {
				err = copyErr
			}
			if err != nil && !l.closing.Load() {
				err = fmt.Errorf("the stream of client %d broke off: %w", i, err)
				l.broken.CompareAndSwap(nil, &err)
			}
		})
		return nil
	})
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// open opens a stream.
func (s *streaming) open(ctx context.Context, since uint64, d time.Duration) (net.Conn, *bufio.Reader, error) {
	target := s.ledger.base + "/v1/namespaces/claims/changes?since=" + strconv.FormatUint(since, 10)
	r, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Authorization", "Bearer "+s.tenant.key)
	request, err := wire(r, s.tenant.gateway.Sign(r, nil))
	if err != nil {
		return nil, nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.ledger.address)
	if err != nil {
		return nil, nil, err
	}
	if _, err = conn.Write(request); err == nil {
		err = conn.SetDeadline(time.Now().Add(d + answerPatience))
	}
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(bufio.NewReaderSize(conn, 4<<10), nil)
	}
	if err == nil && resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		err = fmt.Errorf("a stream was answered %d %s", resp.StatusCode, bytes.TrimSpace(body))
	}
	var in *bufio.Reader
	if err == nil {
		in = bufio.NewReaderSize(resp.Body, 4<<10)
		_, err = in.ReadString('\n') // of the first heartbeat: from here on it is told at once
	}
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, in, nil
}

// follow notes when the client is told of each claim, to the last.
func (l *listener) follow(in io.Reader, w *watch) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		now := time.Since(w.began)
		var change struct {
			Op    string
			Claim pending
		}
		if err := json.Unmarshal(data, &change); err != nil {
			return err
		}
		i, known := w.index[change.Claim.ClaimID]
		if change.Op != "remove" || !known {
			continue
		}
		l.latencies = append(l.latencies, now-time.Duration(w.sent[i].Load()))
		if len(l.latencies) == len(w.index) {
			close(l.done)
		}
	}
	return errors.Join(errors.New("it ended"), lines.Err())
}

// finish waits until the watched clients were told of everything, and gives how long each
// took for each.
func (l *listeners) finish(ctx context.Context) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerPatience, errors.New("clients were not told of everything in time"))
	defer cancel()
	var all []time.Duration
	for _, w := range l.watched {
		select {
		case <-w.done:
			all = append(all, w.latencies...)
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), l.lost())
		}
	}
	return all, l.lost()
}

func (l *listeners) close() {
	l.closing.Store(true)
	for _, conn := range l.all {
		if conn != nil {
			conn.Close()
		}
	}
	l.wg.Wait()
}
