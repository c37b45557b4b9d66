package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxAnswer bounds the body of an answer.
	maxAnswer = 64 << 10
	// answerPatience is how long after a load's end its last answers may take.
	answerPatience = 30 * time.Second
)

// request is a whole request as it goes over the wire, prepared and signed ahead of
// time: what a client does by itself is not what is measured.
type request []byte

// prepareAll makes n requests on all CPUs.
func prepareAll(n int, make1 func(i int) (*http.Request, error)) ([]request, error) {
	all := make([]request, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, runtime.GOMAXPROCS(0))
	for worker := range errs {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && errs[worker] == nil; i = int(next.Add(1)) - 1 {
				all[i], errs[worker] = wire(make1(i))
			}
		})
	}
	wg.Wait()
	return all, errors.Join(errs...)
}

func wire(r *http.Request, err error) (request, error) {
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = r.Write(&b)
	return bytes.Clone(b.Bytes()), err // without what the buffer has to spare: there are many
}

// connections are kept-alive connections to one server, one for each worker.
type connections struct {
	all     []connection
	answers [][]byte // bodies, by request
	status  int      // the only right one
	body    []byte   // what a right answer's body contains; nil: anything
}

type connection struct {
	net.Conn
	in *bufio.Reader
}

// connect opens connections that are good for a load of a duration.
func connect(ctx context.Context, address string, n int, d time.Duration) (*connections, error) {
	c := &connections{}
	for range n {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			err = conn.SetDeadline(time.Now().Add(d + answerPatience))
		}
		if err != nil {
			c.close()
			return nil, err
		}
		c.all = append(c.all, connection{conn, bufio.NewReaderSize(conn, 4<<10)})
	}
	return c, nil
}

func (c *connections) close() {
	for _, conn := range c.all {
		conn.Close()
	}
}

// send sends a request on a worker's connection and keeps the answer's body.
func (c *connections) send(worker, i int, r request) error {
	conn := c.all[worker]
	if _, err := conn.Write(r); err != nil {
		return err
	}
	resp, err := http.ReadResponse(conn.in, nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != c.status || !bytes.Contains(body, c.body) {
		return fmt.Errorf("a request was answered %d %s", resp.StatusCode, bytes.TrimSpace(body))
	}
	c.answers[i] = body
	return nil
}
