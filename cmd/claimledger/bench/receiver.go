package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Behaviour is how an endpoint of the receiver takes what it is sent.
type Behaviour string

// All behaviours. What hangs answers when it is told to behave otherwise.
const (
	Answers Behaviour = "answer" // 204, at once
	Delays  Behaviour = "delay"  // the same, after receiverDelay
	Hangs   Behaviour = "hang"   // no answer comes
	Refuses Behaviour = "refuse" // it cannot be connected to
	Resets  Behaviour = "reset"  // the connection is reset once the request was read
)

// receiverDelay is half of what a receiver has to answer.
const receiverDelay = 5 * time.Second

// arrivalPatience is how long the events of a round may take to come.
const arrivalPatience = 2 * time.Minute

// receiving is one thing that the receiver is asked for.
type receiving struct {
	Open   int       `json:"open,omitempty"` // that many endpoints more
	Behave *behaving `json:"behave,omitempty"`
	Take   *taking   `json:"take,omitempty"`
}

type behaving struct {
	Endpoints []int     `json:"endpoints"`
	Behaviour Behaviour `json:"behaviour"`
}

// taking asks for the events that came to endpoints since they were last asked for, once
// there are so many.
type taking struct {
	Endpoints []int         `json:"endpoints"`
	Least     int           `json:"least"`
	Patience  time.Duration `json:"patience"`
}

// received is the answer.
type received struct {
	Addresses []string  `json:"addresses,omitempty"` // of all endpoints
	Arrivals  []arrival `json:"arrivals,omitempty"`
	Latest    []message `json:"latest,omitempty"` // to each endpoint that was asked about
	Error     string    `json:"error,omitempty"`
}

// arrival is the first request with an event.
type arrival struct {
	Endpoint  int       `json:"endpoint"`
	Sequence  int64     `json:"sequence"`
	Happened  time.Time `json:"happened"`
	FirstByte time.Time `json:"first_byte"`
}

// message is a request as it came.
type message struct {
	Header http.Header `json:"header"`
	Body   []byte      `json:"body"`
}

// receiver is who webhooks lead to, in a process of its own.
type receiver struct {
	*process
	addresses []string
}

func startReceiver(ctx context.Context, c Config, endpoints int) (*receiver, error) {
	if !slices.Contains(c.Roles, "relay") {
		return nil, errors.New("--roles must name relay, which delivers to webhooks")
	}
	p, err := startProcess("receiver", filepath.Join(c.Dir, "receiver.log"), c.Program.Receiver)
	if err != nil {
		return nil, err
	}
	r := &receiver{process: p}
	if _, err := r.open(ctx, endpoints); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return r, nil
}

// open opens endpoints, which answer, and gives their numbers.
func (r *receiver) open(ctx context.Context, endpoints int) ([]int, error) {
	opened, err := r.request(ctx, receiving{Open: endpoints})
	first := len(r.addresses)
	r.addresses = opened.Addresses
	return numbers(first, len(r.addresses)), err
}

// behave has endpoints take requests in another way, those that hang included.
func (r *receiver) behave(ctx context.Context, endpoints []int, b Behaviour) error {
	_, err := r.request(ctx, receiving{Behave: &behaving{endpoints, b}})
	return err
}

// take waits for so many events.
func (r *receiver) take(ctx context.Context, endpoints []int, least int) (received, error) {
	return r.request(ctx, receiving{Take: &taking{endpoints, least, arrivalPatience}})
}

// numbers are the whole ones from first to before end.
func numbers(first, end int) (all []int) {
	for i := first; i < end; i++ {
		all = append(all, i)
	}
	return all
}

func (r *receiver) request(ctx context.Context, ask receiving) (received, error) {
	var answer received
	err := r.ask(ctx, ask, &answer)
	if err == nil && answer.Error != "" {
		err = fmt.Errorf("the receiver: %s", answer.Error)
	}
	return answer, err
}

func (r *receiver) url(endpoint int) string { return "http://" + r.addresses[endpoint] + "/hook" }

// Receive is the receiver's process: it opens endpoints and takes what they are sent until
// in ends.
func Receive(in io.Reader, out io.Writer) error {
	r := &receiverServer{came: make(chan struct{}, 1)}
	defer r.close()
	return Serve(in, out, func(ask receiving) (received, error) {
		answer, err := r.do(ask)
		if err != nil {
			return received{Error: err.Error()}, nil
		}
		return answer, nil
	})
}

type receiverServer struct {
	endpoints []*endpoint
	came      chan struct{} // there is something new
}

func (r *receiverServer) do(ask receiving) (received, error) {
	switch {
	case ask.Behave != nil:
		for _, i := range ask.Behave.Endpoints {
			if err := r.endpoints[i].behave(ask.Behave.Behaviour); err != nil {
				return received{}, err
			}
		}
	case ask.Take != nil:
		return r.take(*ask.Take)
	}
	for range ask.Open {
		e := &endpoint{index: len(r.endpoints), address: "127.0.0.1:0", seen: map[int64]bool{}, came: r.came}
		if err := e.behave(Answers); err != nil {
			return received{}, err
		}
		r.endpoints = append(r.endpoints, e)
	}
	var answer received
	for _, e := range r.endpoints {
		answer.Addresses = append(answer.Addresses, e.address)
	}
	return answer, nil
}

func (r *receiverServer) take(ask taking) (received, error) {
	var answer received
	patience := time.After(ask.Patience)
	for {
		for _, i := range ask.Endpoints {
			answer.Arrivals = append(answer.Arrivals, r.endpoints[i].take()...)
		}
		if len(answer.Arrivals) >= ask.Least {
			break
		}
		select {
		case <-r.came:
		case <-patience:
			return answer, fmt.Errorf("%d of %d events came in time", len(answer.Arrivals), ask.Least)
		}
	}
	for _, i := range ask.Endpoints {
		answer.Latest = append(answer.Latest, r.endpoints[i].last())
	}
	return answer, nil
}

func (r *receiverServer) close() {
	for _, e := range r.endpoints {
		e.close()
	}
}

// endpoint is one of the addresses that webhooks have.
type endpoint struct {
	index   int
	address string
	came    chan<- struct{}

	mu        sync.Mutex
	behaviour Behaviour
	changed   chan struct{} // closed when it is to behave otherwise
	server    *http.Server  // nil: it refuses
	seen      map[int64]bool
	arrivals  []arrival
	latest    message
}

// behave changes how it takes requests, those that hang included.
func (e *endpoint) behave(b Behaviour) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.changed != nil {
		close(e.changed)
	}
	e.behaviour, e.changed = b, make(chan struct{})
	if b == Refuses {
		e.closeServer()
		return nil
	}
	if e.server != nil {
		return nil
	}
	listener, err := net.Listen("tcp", e.address)
	if err != nil {
		return err
	}
	e.address = listener.Addr().String()
	e.server = &http.Server{
		Handler:     e,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, firstByte{}, c) },
	}
	go e.server.Serve(watchful{listener}) // it ends when it is closed
	return nil
}

func (e *endpoint) closeServer() {
	if e.server != nil {
		e.server.Close()
		e.server = nil
	}
}

func (e *endpoint) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closeServer()
}

func (e *endpoint) take() []arrival {
	e.mu.Lock()
	defer e.mu.Unlock()
	taken := e.arrivals
	e.arrivals = nil
	return taken
}

func (e *endpoint) last() message {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.latest
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn := r.Context().Value(firstByte{}).(*watched)
	began := time.Unix(0, conn.began.Swap(0))
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client gave up
	}
	behaviour, changed, err := e.note(began, r.Header, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var delayed <-chan time.Time
	switch behaviour {
	case Resets:
		conn.reset()
		panic(http.ErrAbortHandler)
	case Answers:
		w.WriteHeader(http.StatusNoContent)
		return
	case Delays:
		delayed = time.After(receiverDelay)
	}
	select {
	case <-delayed:
	case <-changed:
	case <-r.Context().Done():
	}
	w.WriteHeader(http.StatusNoContent)
}

// note keeps what came, and says what is to become of it.
func (e *endpoint) note(began time.Time, header http.Header, body []byte) (Behaviour, <-chan struct{}, error) {
	var event struct {
		Timestamp time.Time
		Sequence  int64
	}
	if err := json.Unmarshal(body, &event); err != nil {
		return "", nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.seen[event.Sequence] {
		e.seen[event.Sequence] = true
		e.arrivals = append(e.arrivals, arrival{e.index, event.Sequence, event.Timestamp, began})
		select {
		case e.came <- struct{}{}:
		default:
		}
	}
	e.latest = message{header, body}
	return e.behaviour, e.changed, nil
}

// firstByte is the key of a request's connection in its context.
type firstByte struct{}

// watchful accepts connections that tell when a request began.
type watchful struct{ net.Listener }

func (l watchful) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &watched{Conn: conn}, nil
}

type watched struct {
	net.Conn
	began atomic.Int64 // when the first byte of the present request came, since 1970; 0: it did not yet
}

func (c *watched) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.began.CompareAndSwap(0, time.Now().UnixNano())
	}
	return n, err
}

// reset has the other side see a connection that broke, where closing would only end it.
func (c *watched) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // then it is closed in order
	}
}
