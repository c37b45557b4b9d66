package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// canaries are secrets by what they are.
type canaries map[string]string

// forms are the ways in which a secret could stand somewhere.
func forms(secret string) [][]byte {
	list := [][]byte{
		[]byte(secret),
		[]byte(hex.EncodeToString([]byte(secret))),
		[]byte(base64.StdEncoding.EncodeToString([]byte(secret))),
		[]byte(base64.RawURLEncoding.EncodeToString([]byte(secret))),
	}
	if encoded, ours := strings.CutPrefix(secret, "whsec_"); ours {
		if raw, err := base64.StdEncoding.DecodeString(encoded); err == nil {
			list = append(list, raw, []byte(hex.EncodeToString(raw)))
		}
	}
	return list
}

// in names the canaries that a text has.
func (c canaries) in(text []byte) (found []string) {
	for name, secret := range c {
		for _, form := range forms(secret) {
			if bytes.Contains(text, form) && !slices.Contains(found, name) {
				found = append(found, name)
			}
		}
	}
	return found
}

// inFiles fails the test for each file that has one, but for those that are meant to.
// What is no secret must be found, in NATS's files and in PostgreSQL's: otherwise
// nothing would be.
func (c canaries) inFiles(t *testing.T, dir, noSecret string, meant ...string) {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || slices.Contains(meant, entry.Name()) {
			return err
		}
		text, err := os.ReadFile(path)
		for _, name := range c.in(text) {
			t.Errorf("%s is in %s", name, path)
		}
		if bytes.Contains(text, []byte(noSecret)) {
			part, _, _ := strings.Cut(strings.TrimPrefix(path, dir+"/"), "/")
			found[part] = true
		}
		return err
	})
	if err != nil || !found["nats"] || !found["postgres"] {
		t.Errorf("%s was found in %v, %v", noSecret, found, err)
	}
}

// inOutput fails the test for each one that a process wrote.
func (c canaries) inOutput(t *testing.T, p *process, meant ...string) {
	t.Helper()
	for _, name := range c.in([]byte(p.out.String() + p.log.String())) {
		if !slices.Contains(meant, name) {
			t.Errorf("%s is in what %s wrote", name, p.name)
		}
	}
}

// Secrets are shown once, to whom they are for. They are in no log and no file.
func TestSecretsAreNowhere(t *testing.T) {
	dir := pgtest.Dir(t)
	flags := []string{"--data-dir", dir, "--listen", freeAddress(t), "--webhook-allow-private", "--log-level", "debug"}
	p := serve(t, flags...)
	c := newClient(t, p.address)
	tn := newTenant(t, c, "canary", "--data-dir", dir)
	secrets := canaries{
		"the login token": tn.login.LoginToken, "the session": tn.session, "the service key": tn.serviceKey,
		"the auth value": "Bearer auth-value-" + hexText(16),
	}
	secrets.flow(t, tn)
	for _, file := range []string{"session.key", "secret.key", "head.key"} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		secrets["the "+file] = string(raw)
	}
	p.stop()
	secrets.inOutput(t, p)
	secrets.inFiles(t, dir, tn.service, "session.key", "secret.key", "head.key")
	p = serve(t, flags...) // which reads all of it again
	newClient(t, p.address).awaitStatus("ready")
	p.stop()
	secrets.inOutput(t, p)
	secrets.inFiles(t, dir, tn.service, "session.key", "secret.key", "head.key")
}

// flow uses each secret where it belongs and where it does not, and adds those that it
// is given.
func (c canaries) flow(t *testing.T, tn *tenant) {
	receiver := newHooks(t)
	c["the webhook's secret"] = receiver.secret
	tn.webhook(receiver, map[string]any{"auth_header": "Authorization", "auth_value": c["the auth value"]})
	var made struct{ RawKey, Secret string }
	tn.expect(201, "POST", "/v1/api-keys", map[string]any{"name": "canary", "permissions": []string{"read"}}, tn.asOwner).decode(t, &made)
	c["the management key"] = made.RawKey
	tn.expect(201, "POST", "/v1/services/"+tn.service+"/webhooks", map[string]any{"url": receiver.url}, tn.asOwner).decode(t, &made)
	c["the secret that was made"] = made.Secret

	id, position := tn.mustSubmit()
	tn.expect(200, "POST", "/v1/claims/"+id+"/approve", nil, tn.asOwner)
	receiver.await(patience, "request.approved", []string{id})
	receiver.mu.Lock()
	if got := receiver.headers[0].Get("Authorization"); got != c["the auth value"] && receiver.headers[1].Get("Authorization") != c["the auth value"] {
		t.Errorf("the receiver was shown %q", got)
	}
	receiver.mu.Unlock()
	if n := len(tn.list(position)); n != 1 {
		t.Errorf("the list has %d claims", n)
	}
	tn.expect(200, "GET", "/v1/services/"+tn.service+"/webhooks", nil, tn.asOwner)

	for name, secret := range c { // each where it does not belong
		for header, value := range map[string]string{"Authorization": "Bearer " + secret, "X-Sigma-ApiKey": secret, "Cookie": "sigilum_token=" + secret, "X-Request-ID": "x"} {
			r, err := tn.send("GET", "/v1/services/"+tn.service+"/nothing", nil, func(r *http.Request, _ []byte) error {
				r.Header.Set(header, value)
				return nil
			})
			if err != nil || r.status < 400 || len(c.in(r.body)) > 0 {
				t.Errorf("%s in %s: %v, %v", name, header, r, err)
			}
		}
		r, err := tn.send("POST", "/v1/auth/login", map[string]any{"token": secret})
		if err != nil || r.status != 401 || len(c.in(r.body)) > 0 {
			t.Errorf("%s as a login token: %v, %v", name, r, err)
		}
	}
	tn.expect(200, "POST", "/v1/auth/logout", nil, tn.asOwner)
}

// eavesdropper stands between a client and a ledger and learns every secret.
type eavesdropper struct {
	url     string
	mu      sync.Mutex
	secrets canaries
}

func newEavesdropper(t *testing.T, address string) *eavesdropper {
	e := &eavesdropper{secrets: canaries{}}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: address})
			r.Out.Host = r.In.Host // it is part of the signature
			if bearer, ok := strings.CutPrefix(r.In.Header.Get("Authorization"), "Bearer "); ok {
				e.learn(map[string]any{"bearer": bearer})
			}
		},
		ModifyResponse: func(r *http.Response) error {
			body, err := io.ReadAll(r.Body)
			var object map[string]any
			if json.Unmarshal(body, &object) == nil {
				e.learn(object)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			return err
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var object map[string]any
		if json.Unmarshal(body, &object) == nil {
			e.learn(object)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	e.url = server.URL
	return e
}

func (e *eavesdropper) learn(object map[string]any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, name := range []string{"bearer", "token", "session_token", "key", "rawKey", "secret"} {
		if secret, ok := object[name].(string); ok && len(secret) > 20 {
			e.secrets[name] = secret
		}
	}
}

// The demo's output can be shown to anyone.
func TestDemoShowsNoSecret(t *testing.T) {
	dir, address := pgtest.Dir(t), freeAddress(t)
	e := newEavesdropper(t, address)
	serve(t, "--data-dir", dir, "--listen", address, "--public-url", e.url, "--webhook-allow-private")
	p := launch(t, beLedger, nil, "demo", "--public-url", e.url, "--data-dir", dir)
	if code := p.exit(patience); code != 0 {
		t.Fatalf("the demo ended with %d: %s", code, p.log.String())
	}
	demoPasses(t, p.out.String())
	if len(e.secrets) < 5 {
		t.Errorf("of the demo's secrets only %d were seen", len(e.secrets))
	}
	e.secrets.inOutput(t, p)
}

// Without a ledger, the demo runs its own and leaves nothing behind, not even when it is
// told to stop before that has started.
func TestDemoOfItsOwn(t *testing.T) {
	temp := pgtest.Dir(t)
	p := launch(t, beLedger, []string{"TMPDIR=" + temp}, "demo", "--listen", freeAddress(t))
	if code := p.exit(patience); code != 0 {
		t.Fatalf("the demo ended with %d: %s", code, p.log.String())
	}
	demoPasses(t, p.out.String())
	stopped := launch(t, beLedger, []string{"TMPDIR=" + temp}, "demo", "--listen", freeAddress(t))
	if _, err := stopped.out.await(t.Context(), stopped.ended, "No ledger is running"); err != nil {
		t.Fatal(err)
	}
	stopped.signal(syscall.SIGTERM)
	if code := stopped.exit(stopsInTime); code != exitFailure || !strings.HasSuffix(stopped.log.String(), "context canceled\n") {
		t.Errorf("told to stop, the demo ended with %d: %s", code, stopped.log.String())
	}
	for _, dir := range []string{temp, p.cmd.Dir} {
		if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
			t.Errorf("the demo left %v, %v", left, err)
		}
	}
}
