package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// hungry is a flow's receiver. It shows what it is sent, as many do when they refuse.
type hungry struct {
	*hooks
	echo *httptest.Server
}

func newHungry(t *testing.T) *hungry {
	h := &hungry{hooks: newHooks(t)}
	h.echo = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_ = r.Header.Write(w) // the ledger has gone: nobody to tell
	}))
	t.Cleanup(h.echo.Close)
	return h
}

// shownSecrets are those that the ledger shows, in one answer.
var shownSecrets = []string{"the session", "the webhook's secret", "the service key", "the management key", "the secret that was made", "the rotated secret", "the challenge's token"}

// keyFiles are a data directory's own secrets, and nowhere but in those files.
var keyFiles = []string{"session.key", "secret.key", "head.key"}

// Secrets are shown once, to whom they are for. They are in no log, no file, no table, no
// metric and no other answer.
func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	flags := []string{
		"--data-dir", dir, "--listen", freeAddress(t), "--webhook-allow-private", "--log-level", "debug", "--webhook-retries", "100ms",
	}
	p := serve(t, flags...)
	c := newClient(t, p.address)
	answered := recordAnswers(c)
	tn := newTenant(t, c, "canary", "--data-dir", dir)
	secrets := canaries{}
	secrets.flow(t, tn)
	for _, file := range keyFiles {
		secrets.addKey(t, filepath.Join(dir, file))
	}
	secrets.wrongPlaces(tn)
	tn.expect(200, "GET", "/metrics", nil)
	secrets.inTables(t, embeddedDatabase(dir), tn.service)
	secrets.everywhere(t, tn, dir, p)
	p = serve(t, flags...) // which reads all of it again
	c = newClient(t, p.address)
	again := recordAnswers(c)
	c.awaitStatus("ready")
	tn = tn.at(c)
	tn.expect(200, "GET", "/v1/services/"+tn.service+"/webhooks", nil, tn.asOwner)
	tn.expect(200, "POST", "/v1/auth/logout", nil, tn.asOwner)
	secrets.wrongPlaces(tn) // now that the session has ended
	secrets.everywhere(t, tn, dir, p)
	secrets.inAnswers(t, answered, shownSecrets...)
	secrets.inAnswers(t, again)
}

// everywhere stops a ledger and looks at all that it has written.
func (c canaries) everywhere(t *testing.T, tn *tenant, dir string, p *process) {
	t.Helper()
	p.stop()
	c.inOutput(t, p)
	c.inFiles(t, dir, tn.service, keyFiles...)
}

// embeddedDatabase is where the PostgreSQL of a ledger is reached that runs it itself.
func embeddedDatabase(dir string) string {
	q := url.Values{"host": {filepath.Join(dir, "postgres", "run")}, "user": {"claimledger"}, "passfile": {filepath.Join(dir, "postgres", "pgpass")}}
	return "postgres:///claimledger?" + q.Encode()
}

// The same while what the ledger needs is away, and with the secrets with which it reaches
// that.
func TestSecretsAreNowhereInTrouble(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	e.setup()
	processes := map[string]*process{}
	for _, role := range roles {
		processes[role] = serve(t, append(e.flags(role, freeAddress(t)), "--log-level", "debug")...)
	}
	c := newClient(t, processes[roleAPI].address)
	answered := recordAnswers(c)
	c.awaitStatus("ready")
	tn := newTenant(t, c, "canary", e.place()...)
	secrets := canaries{}
	secrets.flow(t, tn)
	for name, secret := range e.secrets {
		secrets["the secret of "+name] = secret
	}
	e.killNATS()
	secrets.wrongPlaces(tn)
	tn.expect(503, "POST", "/v1/services", map[string]any{"slug": "other", "name": "Other"}, tn.asOwner)
	natsLog := e.nodes[0].process
	e.startNATS()
	c.awaitStatus("ready")
	if err := e.database.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	secrets.wrongPlaces(tn)
	tn.mustSubmit()
	tn.expect(200, "GET", "/metrics", nil)
	e.restartDatabase()
	for _, p := range processes {
		newClient(t, p.address).awaitStatus("ready")
	}
	secrets.inTables(t, e.database.URL(), tn.service)
	for _, p := range processes {
		p.stop()
		secrets.inOutput(t, p)
	}
	secrets.inOutput(t, natsLog)
	secrets.inAnswers(t, answered, shownSecrets...)
	e.wrongCredentials(secrets)
}

// wrongCredentials starts processes that are refused, which is the time to say with what
// they came.
func (e *external) wrongCredentials(c canaries) {
	t := e.t
	t.Helper()
	c["the wrong password"] = "wrong-" + hexText(16)
	c["the seed"] = "SUA" + strings.ToUpper(hexText(27)) + "X"
	c["the user's token"] = "eyJ0eXAiOiJKV1QifQ.e30." + hexText(32)
	creds := filepath.Join(t.TempDir(), "user.creds")
	file := "-----BEGIN NATS USER JWT-----\n" + c["the user's token"] + "\n------END NATS USER JWT------\n\n" +
		"-----BEGIN USER NKEY SEED-----\n" + c["the seed"] + "\n------END USER NKEY SEED------\n"
	if err := os.WriteFile(creds, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := c["the wrong password"]
	good := e.flags(roleAPI, "127.0.0.1:0")
	for _, args := range [][]string{
		append(slices.Clone(good), "--nats-url", "nats://claimledger:"+wrong+"@"+e.nodes[0].address),
		append(slices.Clone(good), "--nats-url", "nats://claimledger:"+wrong+"@bad host:x"),
		append(slices.Clone(good), "--nats-url", "nats://"+wrong+"@"+e.nodes[0].address),
		append(slices.Clone(good), "--nats-creds", creds),
		append(slices.Clone(good), "--database-url", "postgres://claimledger_api:"+wrong+"@bad host/x"),
		append(slices.Clone(good), "--database-url", "postgres://claimledger_api:"+wrong+"@127.0.0.1:x/y"),
		append(slices.Clone(good), "--database-url", "host=127.0.0.1 port=1 password="+wrong+" nonsense"),
		append(slices.Clone(good), "--database-url", wrong),
		append(slices.Clone(good), "--public-url", "https://user:"+wrong+"@ledger.example"),
		append(slices.Clone(good), "--public-url", "https://user:"+wrong+"@bad host"),
	} {
		p := launch(t, beLedger, nil, append([]string{"serve", "--log-level", "debug"}, args...)...)
		// Some of it may get better by itself, and is tried again.
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_, err := p.log.await(ctx, p.ended, `"level":"WARN"`)
		cancel()
		if p.signal(syscall.SIGTERM); err != nil && p.exit(patience) == 0 {
			t.Errorf("it served with %v", args)
		}
		p.exit(patience)
		c.inOutput(t, p)
	}
}

// flow uses each secret where it belongs, and adds those that it is given.
func (c canaries) flow(t *testing.T, tn *tenant) {
	c["the login token"], c["the session"], c["the service key"] = tn.login.LoginToken, tn.session, tn.serviceKey
	c["the auth value"], c["the Idempotency-Key"] = "Bearer auth-value-"+hexText(16), "idempotency-"+hexText(16)
	c["the agent's private key"] = string(tn.signer.Key.Seed())
	receiver := newHungry(t)
	c["the webhook's secret"] = receiver.secret
	tn.webhook(receiver.hooks, map[string]any{"auth_header": "Authorization", "auth_value": c["the auth value"]})
	var made struct{ ID, RawKey, Secret string }
	once := func(r *http.Request, body []byte) error {
		r.Header.Set("Idempotency-Key", c["the Idempotency-Key"])
		return tn.asOwner(r, body)
	}
	key := map[string]any{"name": "canary", "permissions": []string{"read"}}
	tn.expect(201, "POST", "/v1/api-keys", key, once).decode(t, &made)
	c["the management key"] = made.RawKey
	tn.expect(201, "POST", "/v1/api-keys", key, once) // which shows it no more
	tn.expect(409, "POST", "/v1/api-keys", map[string]any{"name": "other", "permissions": []string{"read"}}, once)
	hook := map[string]any{"url": receiver.echo.URL, "auth_header": "X-Auth", "auth_value": c["the auth value"]}
	tn.expect(201, "POST", "/v1/services/"+tn.service+"/webhooks", hook, tn.asOwner).decode(t, &made)
	c["the secret that was made"], tn.hook = made.Secret, made.ID
	webhook := "/v1/services/" + tn.service + "/webhooks/" + tn.hook
	tn.expect(200, "POST", webhook+"/rotate-secret", nil, tn.asOwner).decode(t, &made)
	c["the rotated secret"] = made.Secret
	var options struct{ Challenge string }
	tn.expect(200, "GET", "/v1/auth/me", nil, func(r *http.Request, _ []byte) error {
		r.Header.Set("Cookie", "sigilum_token="+c["the session"])
		return nil
	})
	if r, err := tn.send("POST", "/v1/auth/passkeys/options", nil, tn.asOwner); err == nil && r.status == http.StatusOK {
		r.decode(t, &options)
		c["the challenge's token"] = options.Challenge
	}

	id, position := tn.mustSubmit()
	tn.expect(200, "POST", "/v1/claims/"+id+"/approve", nil, tn.asOwner)
	receiver.await(patience, "request.approved", []string{id})
	if got := receiver.last(1)[0].Get("Authorization"); got != c["the auth value"] {
		t.Errorf("the receiver was shown %q", got)
	}
	if n := len(tn.list(position)); n != 1 {
		t.Errorf("the list has %d claims", n)
	}
	c.lists(t, tn, id, webhook)
}

// lists reads all that there is to read, when the receiver that echoes has done so.
func (c canaries) lists(t *testing.T, tn *tenant, id, webhook string) {
	var failed struct{ Deliveries []struct{ ID string } }
	eventually(t, patience, func() error {
		r, err := tn.send("GET", webhook+"/deliveries?state=dead", nil, tn.asOwner)
		if err != nil || r.status != http.StatusOK {
			return fmt.Errorf("%v, %w", r, err)
		}
		if r.decode(t, &failed); len(failed.Deliveries) == 0 {
			return errors.New("no delivery is dead yet")
		}
		return nil
	})
	if d := tn.expect(200, "GET", webhook+"/deliveries/"+failed.Deliveries[0].ID, nil, tn.asOwner); !strings.Contains(string(d.body), "X-Sigilum-Event") {
		t.Errorf("the receiver's echo is not kept: %s", d)
	}
	for _, path := range []string{
		"/v1/services", "/v1/services/" + tn.service, "/v1/services/" + tn.service + "/keys", "/v1/services/" + tn.service + "/webhooks", webhook,
		webhook + "/events?after=0", "/v1/api-keys", "/v1/namespaces/" + tn.namespace + "/events", "/v1/namespaces/" + tn.namespace + "/policy",
		"/v1/claims/" + id, "/v1/claims/" + id + "/events", "/v1/auth/me", "/health/ready", "/openapi.json",
	} {
		tn.expect(200, "GET", path, nil, tn.asOwner)
	}
	tn.expect(200, "GET", "/v1/namespaces/claims?service="+serviceSlug, nil, tn.asGateway)
	tn.expect(200, "GET", "/v1/namespaces/claims/changes?since=0&service="+serviceSlug, nil, tn.asGateway)
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
	t.Parallel()
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
	t.Parallel()
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
