package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/cmd/claimledger/capture"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// captureDelivery has the ledger deliver an event to a receiver that writes down what came.
func captureDelivery(t *testing.T) (raw, secret string) {
	t.Helper()
	came := make(chan string, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		dump, err := httputil.DumpRequest(r, true)
		if err != nil {
			dump = []byte(err.Error())
		}
		came <- string(dump)
	}))
	t.Cleanup(receiver.Close)
	dir := pgtest.Dir(t)
	p := serve(t, "--data-dir", dir, "--listen", freeAddress(t), "--webhook-allow-private")
	tn := newTenant(t, newClient(t, p.address), "acme", "--data-dir", dir)
	var made struct{ Secret string }
	tn.expect(201, "POST", "/v1/services/"+tn.service+"/webhooks", map[string]any{"url": receiver.URL}, tn.asOwner).decode(t, &made)
	tn.mustSubmit()
	select {
	case raw = <-came:
	case <-time.After(patience):
		t.Fatal("nothing was delivered")
	}
	return raw, made.Secret
}

// A delivery of a real ledger, as a receiver captured it.
func TestVerifyingACapturedRequest(t *testing.T) {
	t.Parallel()
	raw, secret := captureDelivery(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	headers := []string{}
	for _, line := range strings.Split(head, "\r\n")[1:] {
		headers = append(headers, "-H", line)
	}
	request, secretFile := file("request", raw), file("secret", secret+"\n")
	env := []string{"CLAIMLEDGER_WEBHOOK_SECRET=" + secret}
	later := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	for _, c := range []struct {
		name string
		env  []string
		args []string
		code int
		says string
	}{
		{"as it came", env, []string{"--request", request}, 0, "webhook-signature    verifies\nx-sigilum-signature  verifies\n"},
		{"with the secret in a file", nil, []string{"--request", request, "--webhook-secret-file", secretFile}, 0, "sequence 1"},
		{"header by header", env, append(slices.Clone(headers), "--body", file("body", body)), 0, "webhook-signature    verifies"},
		{"an hour later", env, []string{"--request", request, "--at", later}, exitFailure, "5m0s is allowed"},
		{"another secret", []string{"CLAIMLEDGER_WEBHOOK_SECRET=another secret of mine"}, []string{"--request", request}, exitFailure, "the secret is another one"},
		{"with a line break too many", env, append(slices.Clone(headers), "--body", file("more", body+"\n"), "-H", "X-More: a, b"), exitFailure, "without the line break"},
		{"without a header", env, []string{"--request", file("less", strings.Replace(raw, "Webhook-Id", "X-Id", 1))}, exitFailure, "there is no Webhook-Id"},

		{"no secret", nil, []string{"--request", request}, exitUsage, "secret is needed"},
		{"no request", env, nil, exitUsage, "--request"},
		{"a body without headers", env, []string{"--body", request}, exitUsage, "--request"},
		{"two requests", env, append(slices.Clone(headers), "--request", request), exitUsage, "--request"},
		{"no file", env, []string{"--request", filepath.Join(dir, "none")}, exitUsage, "no such file"},
		{"no request in it", env, []string{"--request", secretFile}, exitUsage, "no captured request"},
		{"no time", env, []string{"--request", request, "--at", "noon"}, exitUsage, "--at"},
	} {
		r := outcome(t, c.env, append([]string{"webhooks", "verify"}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.out+r.err, c.says) || strings.Contains(r.out+r.err, secret) {
			t.Errorf("%s: it ended with %d:\n%s%s", c.name, r.code, r.out, r.err)
		}
	}

	r := outcome(t, env, "webhooks", "verify", "--json", "--request", request)
	var report capture.Report
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || !report.Verified || len(report.Findings) != 2 || report.Event != "request.submitted" {
		t.Errorf("as JSON: %s, %v", r.out, err)
	}
}

func TestVerifyingStandardInput(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "request")
	if err := os.WriteFile(file, []byte("POST / HTTP/1.1\r\n\r\n{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	shell := []string{"sh", "-c", `exec "$0" "$@" < ` + file}
	p := launchUnder(t, shell, beLedger, []string{"CLAIMLEDGER_WEBHOOK_SECRET=a secret of one's own"}, "webhooks", "verify", "--request", "-")
	if code := p.exit(patience); code != exitFailure || !strings.Contains(p.out.String(), "there is no X-Sigilum-Signature") {
		t.Errorf("it ended with %d: %s%s", code, p.out.String(), p.log.String())
	}
}
