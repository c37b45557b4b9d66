package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/claimledger/claimledger/domain/signature"
)

// How much of a long header value is shown: enough to see what it is, and of a
// credential no more than its kind.
const shownHeader, shownCredential = 28, 15

// showRequest prints a request as the curl command that would send it.
func showRequest(out io.Writer, r *http.Request, body []byte) {
	fmt.Fprintf(out, "$ curl -X %s '%s'", r.Method, r.URL)
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(out, " \\\n    -H '%s: %s'", strings.ToLower(name), shorten(name, r.Header.Get(name)))
	}
	if len(body) > 0 {
		fmt.Fprintf(out, " \\\n    -d '%s'", shortenSecrets(body))
	}
	fmt.Fprintln(out)
}

func shorten(name, value string) string {
	most := shownHeader
	if name == "Authorization" {
		most = shownCredential
	}
	if len(value) <= most {
		return value
	}
	return value[:most] + "…"
}

// secretFields are shown by their beginning only.
var secretFields = []string{"token", "session_token", "key", "rawKey", "secret"}

// shortenSecrets gives a JSON object's text with its secrets shortened.
func shortenSecrets(body []byte) string {
	var object map[string]any
	if json.Unmarshal(body, &object) != nil {
		return string(body)
	}
	text := string(body)
	for _, field := range secretFields {
		if s, ok := object[field].(string); ok {
			text = strings.ReplaceAll(text, s, s[:min(len(s), 12)]+"…")
		}
	}
	return text
}

func showAnswer(out io.Writer, resp *http.Response, body []byte) {
	fmt.Fprintf(out, "%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	for _, name := range []string{"Ledger-Position", "ETag"} {
		if value := resp.Header.Get(name); value != "" {
			fmt.Fprintf(out, "   %s: %s", name, value)
		}
	}
	fmt.Fprintln(out)
	if len(body) > 0 {
		fmt.Fprint(out, indent([]byte(shortenSecrets(body))))
	}
}

// indent lays JSON out for a person.
func indent(body []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, bytes.TrimSpace(body), "    ", "  ") != nil {
		return string(body) + "\n"
	}
	return "    " + b.String() + "\n"
}

// receiver is a webhook's endpoint on this machine.
type receiver struct {
	url        string
	server     *http.Server
	deliveries chan delivery
}

// delivery is one request to the receiver.
type delivery struct {
	event  string
	header http.Header
	body   []byte
}

// maxWebhookBody bounds what the receiver reads; events are far smaller.
const maxWebhookBody = 1 << 20

func startReceiver() (*receiver, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{
		url:        "http://" + listener.Addr().String() + "/webhook",
		deliveries: make(chan delivery, 16),
	}
	r.server = &http.Server{ReadHeaderTimeout: clientWaits.header, Handler: http.HandlerFunc(r.receive)}
	go func() { _ = r.server.Serve(listener) }() // it ends with close
	return r, nil
}

func (r *receiver) receive(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, maxWebhookBody))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.deliveries <- delivery{req.Header.Get("X-Sigilum-Event"), req.Header, body}
	w.WriteHeader(http.StatusNoContent)
}

// next waits for a delivery and verifies both of its signatures.
func (r *receiver) next(ctx context.Context, secret string) (delivery, error) {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	select {
	case d := <-r.deliveries:
		return d, errors.Join(
			signature.Verify(d.header, d.body, []string{secret}, time.Now(), signature.DefaultTolerance),
			signature.VerifyBody(d.header, d.body, []string{secret}),
		)
	case <-ctx.Done():
		return delivery{}, fmt.Errorf("no webhook came within %s", demoPatience)
	}
}

func (r *receiver) close() { r.server.Close() }
