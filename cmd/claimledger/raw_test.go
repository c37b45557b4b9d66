package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// raw is a connection on which a client sends what it likes.
type raw struct {
	*net.TCPConn
	t    testing.TB
	read *bufio.Reader
}

func dialRaw(t testing.TB, address string) *raw {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	// Only a defect uses this up.
	if err := conn.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		t.Fatal(err)
	}
	return &raw{conn.(*net.TCPConn), t, bufio.NewReader(conn)}
}

func (r *raw) send(text string) {
	r.t.Helper()
	if _, err := r.Write([]byte(text)); err != nil {
		r.t.Fatal(err)
	}
}

// answer reads the next answer. Its body has been read.
func (r *raw) answer() *http.Response {
	r.t.Helper()
	resp, err := http.ReadResponse(r.read, nil)
	if err != nil {
		r.t.Fatalf("instead of an answer: %v", err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		r.t.Fatal(err)
	}
	return resp
}

// cutOff reads on until the server has closed the connection, and gives the status of what
// it answered before, 0 for nothing.
func (r *raw) cutOff() (status int) {
	r.t.Helper()
	text, err := io.ReadAll(r.read)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		r.t.Errorf("the server keeps a connection open that said %q", text[:min(len(text), 200)])
	}
	if resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(text)), nil); err == nil {
		resp.Body.Close()
		return resp.StatusCode
	}
	return 0
}

// flood sends as long as the server takes it, and gives how much that was.
func (r *raw) flood(part string, most int64) (sent int64) {
	block := bytes.Repeat([]byte(part), max(1, 64<<10/len(part)))
	for sent < most {
		n, err := r.Write(block)
		if sent += int64(n); err != nil {
			break
		}
	}
	return sent
}

// trickle sends a text again and again, byte by byte, until the server has enough of it.
func (r *raw) trickle(text string, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := 0; ; i++ {
		<-tick.C
		if _, err := r.Write([]byte{text[i%len(text)]}); err != nil {
			return
		}
	}
}
