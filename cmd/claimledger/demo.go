package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/api/httpsig"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

const (
	// demoTimeout bounds the whole demo, starting a ledger of its own included.
	demoTimeout = 2 * time.Minute
	// demoPatience bounds the wait for one webhook.
	demoPatience = 10 * time.Second
)

// demoCommand walks through a claim's life as four kinds of people see it.
type demoCommand struct {
	operatorSettings
}

// Help is shown below the flags.
func (demoCommand) Help() string {
	return `Uses the ledger that runs at --listen (or --public-url), in a namespace of its own;
where none runs, it starts one in a temporary directory and removes it afterwards.

Example: claimledger demo`
}

func (c *demoCommand) Run(w *world) (err error) {
	ctx, cancel := context.WithTimeout(w.ctx, demoTimeout)
	defer cancel()
	if _, err := readReadiness(ctx, c.base()); err == nil {
		if err := c.sameLedger(); err != nil {
			return err
		}
	} else {
		stop, err := c.startOwn(ctx, w)
		if err != nil {
			return err
		}
		defer stop()
	}
	receiver, err := startReceiver()
	if err != nil {
		return err
	}
	defer receiver.close()
	d := &demo{ctx: ctx, world: w, settings: c, base: c.base(), receiver: receiver, out: w.stdout}
	for _, step := range []func() error{d.namespace, d.service, d.submit, d.approve, d.gateway, d.revoke, d.history} {
		if err := step(); err != nil {
			return fmt.Errorf("the demo stopped: %w", err)
		}
	}
	fmt.Fprintf(d.out, "\nDone: asked, allowed, used, taken back, and all of it on record.\n")
	return nil
}

// sameLedger refuses a ledger that answers at the URL and is not the one of the data
// directory: the namespace would be made in another ledger than the requests go to.
func (c *demoCommand) sameLedger() error {
	if !c.embedded() {
		return nil
	}
	if _, err := eventstore.ReadOperatorFile(c.natsDir()); err != nil {
		return fmt.Errorf("a ledger answers at %s, but none runs on the data directory %s: give --data-dir or --nats-url as the ledger has it", c.base(), c.DataDir)
	}
	return nil
}

// startOwn runs a ledger in a temporary directory for the time of the demo.
func (c *demoCommand) startOwn(ctx context.Context, w *world) (stop func(), err error) {
	if !c.embedded() {
		return nil, fmt.Errorf("no ledger answers at %s", c.base())
	}
	dir, err := os.MkdirTemp("", "claimledger-demo-")
	if err != nil {
		return nil, err
	}
	err = os.Chmod(dir, dataDirMode) // it is ours: MkdirTemp made it just now
	var free net.Listener
	if err == nil {
		free, err = (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	c.Listen, c.PublicURL, c.DataDir = free.Addr().String(), "", dir
	free.Close()
	fmt.Fprintf(w.stdout, "No ledger is running, so the demo starts one of its own at http://%s.\n", c.Listen)

	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	args := []string{"serve", "--listen", c.Listen, "--data-dir", dir, "--webhook-allow-private", "--log-level", "error"}
	if c.PostgresBin != "" {
		args = append(args, "--postgres-bin", c.PostgresBin)
	}
	go func() { ended <- Run(ctx, args, nil, w.stdout, w.stderr) }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			fmt.Fprintln(w.stderr, "the demo's ledger:", err)
		}
		os.RemoveAll(dir)
	}
	for {
		select {
		case err := <-ended:
			cancel()
			os.RemoveAll(dir)
			if err == nil { // it was told to stop
				err = ctx.Err()
			}
			return nil, fmt.Errorf("the demo's ledger did not start: %w", err)
		case <-time.After(statusPoll):
		}
		if r, err := readReadiness(ctx, publicURL("", c.Listen)); err == nil && r.Status == "ready" {
			return stop, nil
		}
	}
}

// demo is one walk, with what it has learnt on the way.
type demo struct {
	ctx      context.Context
	world    *world
	settings *demoCommand
	base     string
	out      io.Writer
	receiver *receiver

	name       string // the namespace
	session    string
	serviceID  string
	serviceKey string
	secret     string // of the webhook; empty where this ledger allows none here
	agent      ed25519.PrivateKey
	signer     *httpsig.Signer
	claimID    string
	etag       string
}

func (d *demo) title(format string, args ...any) {
	fmt.Fprintf(d.out, "\n── %s\n", fmt.Sprintf(format, args...))
}

func (d *demo) namespace() error {
	suffix := strings.ToLower(rand.Text()[:8])
	d.name = "demo-" + suffix
	d.title("The operator registers the namespace %s, and its owner signs in by a one-time link", d.name)
	fmt.Fprintf(d.out, "$ claimledger owner create %s --email demo@example.com\n", d.name)
	token, recorded := newLoginToken(d.name)
	create := domain.RegisterNamespace{OwnerID: "owner_" + strings.ToLower(newID()), Token: recorded}
	err := d.settings.registry(d.world, d.name, create, "namespace.register",
		func(context.Context, *eventstore.Stream, domain.RegistryAnswer, commands.Result) error { return nil })
	if err != nil {
		return err
	}
	var login struct {
		Token string `json:"session_token"`
	}
	if err := d.call("POST", "/v1/auth/login", map[string]any{"token": token}, nil, 200, &login); err != nil {
		return err
	}
	d.session = login.Token
	return nil
}

func (d *demo) service() error {
	d.title("The owner registers a service, makes a key for it, and a webhook")
	var service struct{ ID string }
	if err := d.call("POST", "/v1/services", map[string]any{"slug": "weather", "name": "Weather"}, d.asOwner, 201, &service); err != nil {
		return err
	}
	d.serviceID = service.ID
	var key struct{ Key string }
	if err := d.call("POST", "/v1/services/"+service.ID+"/keys", map[string]any{"name": "demo"}, d.asOwner, 201, &key); err != nil {
		return err
	}
	d.serviceKey = key.Key
	var hook struct{ Secret string }
	err := d.call("POST", "/v1/services/"+service.ID+"/webhooks", map[string]any{"url": d.receiver.url}, d.asOwner, 201, &hook)
	var refused *unexpected
	if errors.As(err, &refused) && refused.code == string(domain.CodeInvalidWebhookURL) {
		fmt.Fprintln(d.out, "This ledger does not deliver to private addresses (serve --webhook-allow-private does), so the demo goes on without its webhook.")
		return nil
	}
	d.secret = hook.Secret
	return err
}

func (d *demo) submit() error {
	d.title("An agent makes a key and a certificate, and asks for access with a signed request")
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	d.agent = private
	expires := time.Now().Add(time.Hour)
	d.signer = &httpsig.Signer{
		Namespace: d.name, Subject: "demo@example.com", Key: private,
		Certificate: httpsig.NewCertificate(d.name, private, time.Now(), &expires).Encode(),
	}
	fmt.Fprintf(d.out, "agent key %s\n", httpsig.FormatKey(public))
	var claim struct {
		ClaimID string `json:"claim_id"`
		Status  string
	}
	body := map[string]any{
		"namespace": d.name, "public_key": httpsig.FormatKey(public), "service": "weather",
		"agent_ip": "203.0.113.45", "nonce": rand.Text(), "subject": "demo@example.com", "agent_name": "Demo agent",
	}
	if err := d.call("POST", "/v1/claims", body, d.asService, 201, &claim); err != nil {
		return err
	}
	d.claimID = claim.ClaimID
	return d.await("request.submitted")
}

func (d *demo) approve() error {
	d.title("The owner sees what is pending, and approves it")
	if err := d.call("GET", "/v1/namespaces/"+d.name+"/claims?status=pending", nil, d.asOwner, 200, nil); err != nil {
		return err
	}
	if err := d.call("POST", "/v1/claims/"+d.claimID+"/approve", map[string]any{"reason": "it may ask for the weather"}, d.asOwner, 200, nil); err != nil {
		return err
	}
	return d.await("request.approved")
}

func (d *demo) gateway() error {
	d.title("A gateway fills its cache from the feed, asks again for nothing, and checks one agent")
	var feed struct{ Claims []map[string]any }
	if err := d.call("GET", "/v1/namespaces/claims?service=weather&limit=500", nil, d.asService, 200, &feed); err != nil {
		return err
	}
	if len(feed.Claims) != 1 || feed.Claims[0]["claim_id"] != d.claimID {
		return fmt.Errorf("the feed shows %d claims, not the one approved", len(feed.Claims))
	}
	etag := d.etag
	again := func(r *http.Request, body []byte) error {
		r.Header.Set("If-None-Match", etag)
		return d.asService(r, body)
	}
	if err := d.call("GET", "/v1/namespaces/claims?service=weather&limit=500", nil, again, 304, nil); err != nil {
		return err
	}
	return d.verify(true, "")
}

func (d *demo) verify(authorized bool, reason string) error {
	key := httpsig.FormatKey(d.agent.Public().(ed25519.PublicKey))
	query := url.Values{"namespace": {d.name}, "public_key": {key}, "service": {"weather"}}
	var verdict struct {
		Authorized bool
		Reason     string
	}
	if err := d.call("GET", "/v1/verify?"+query.Encode(), nil, d.asService, 200, &verdict); err != nil {
		return err
	}
	if verdict.Authorized != authorized || verdict.Reason != reason {
		return fmt.Errorf("verify answered authorized=%t %s", verdict.Authorized, verdict.Reason)
	}
	return nil
}

func (d *demo) revoke() error {
	d.title("The owner takes the approval back; from its answer on, verify refuses")
	if err := d.call("POST", "/v1/claims/"+d.claimID+"/revoke", map[string]any{"reason": "the demo is over"}, d.asOwner, 200, nil); err != nil {
		return err
	}
	if err := d.verify(false, "revoked"); err != nil {
		return err
	}
	return d.await("request.revoked")
}

func (d *demo) history() error {
	d.title("An auditor reads who did what; each commit carries the hash of the one before")
	var history struct {
		Events []struct {
			Type   string
			Time   time.Time
			Actor  domain.Actor
			Commit struct {
				Version    uint64
				Prev, Hash string
			}
		}
	}
	if err := d.call("GET", "/v1/claims/"+d.claimID+"/events", nil, d.asOwner, 200, &history); err != nil {
		return err
	}
	var types []string
	before := ""
	for _, e := range history.Events {
		types = append(types, e.Type)
		if before != "" && e.Commit.Prev != before {
			return fmt.Errorf("version %d does not follow the one before", e.Commit.Version)
		}
		before = e.Commit.Hash
	}
	if !slices.Equal(types, []string{"claim.submitted", "claim.approved", "claim.revoked"}) {
		return fmt.Errorf("the history shows %v", types)
	}
	return nil
}

// asOwner authenticates a request with the owner's session.
func (d *demo) asOwner(r *http.Request, _ []byte) error {
	r.Header.Set("Authorization", "Bearer "+d.session)
	return nil
}

// asService signs a request with the agent's key and shows the service's key.
func (d *demo) asService(r *http.Request, body []byte) error {
	r.Header.Set("Authorization", "Bearer "+d.serviceKey)
	return d.signer.Sign(r, body)
}

// unexpected is an answer other than the one that was expected.
type unexpected struct {
	status int
	code   string
	body   string
}

func (e *unexpected) Error() string { return fmt.Sprintf("the answer was %d: %s", e.status, e.body) }

// call sends a request, shows it with its answer, and checks the status.
func (d *demo) call(method, path string, body any, authenticate func(*http.Request, []byte) error, status int, into any) error {
	var payload []byte
	if body != nil {
		var err error
		if payload, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(d.ctx, method, d.base+path, strings.NewReader(string(payload)))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if authenticate != nil {
		if err := authenticate(req, payload); err != nil {
			return err
		}
	}
	showRequest(d.out, req, payload)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	showAnswer(d.out, resp, answer)
	d.etag = resp.Header.Get("ETag")
	if resp.StatusCode != status {
		var refusal struct{ Code string }
		_ = json.Unmarshal(answer, &refusal) // the body is shown as it is where it is not JSON
		return &unexpected{resp.StatusCode, refusal.Code, strings.TrimSpace(string(answer))}
	}
	if into == nil || len(answer) == 0 {
		return nil
	}
	return json.Unmarshal(answer, into)
}

// await waits for a webhook and verifies its signatures as a receiver should.
func (d *demo) await(event string) error {
	if d.secret == "" {
		return nil
	}
	delivery, err := d.receiver.next(d.ctx, d.secret)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "⇐ webhook %s, signatures verified\n%s", delivery.event, indent(delivery.body))
	if delivery.event != event {
		return fmt.Errorf("the webhook was told %s, not %s", delivery.event, event)
	}
	return nil
}
