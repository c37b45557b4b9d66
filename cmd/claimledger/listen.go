package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	ledgerclient "github.com/claimledger/claimledger/api/client"
	"github.com/claimledger/claimledger/api/client/webhook"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/webhookrelay/attempt"
	"github.com/claimledger/claimledger/webhookrelay/dialguard"
)

const (
	// listenPoll is how often the ledger is asked for more.
	listenPoll = time.Second
	// firstRetry doubles with each failure, up to lastRetry: whoever restarts a program
	// does not wait long for its next event.
	firstRetry, lastRetry = time.Second, 30 * time.Second
)

type listenCommand struct {
	ForwardTo string `required:"" help:"Where to post the events, such as http://localhost:3000/webhook." placeholder:"URL"`
	Service   string `required:"" help:"The id of the webhook's service." placeholder:"ID"`
	Webhook   string `required:"" help:"The webhook's id." placeholder:"ID"`

	ManagementKey string `help:"Of the owner, with the permission read. Others on the machine see a command line: prefer the variable." placeholder:"KEY"`
	Session       string `help:"Or the token of the owner's session." placeholder:"TOKEN"`
	webhookSecretSettings

	After     *uint64 `help:"Begin after the event with this sequence number; 0: with the first. Default: where the last run ended, or with the first." placeholder:"N"`
	StateFile string  `help:"Where to remember how far it came. Default: a file for each webhook in the user's cache directory." placeholder:"FILE"`
	Attempts  int     `help:"Go on to the next event after so many attempts; 0: when the program has accepted this one." default:"0" placeholder:"N"`
	runningSettings
	JSON bool `help:"Print JSON, an object on a line for each attempt."`
}

// Help is shown below the flags.
func (listenCommand) Help() string {
	return `Pulls the webhook's events from the ledger, so that neither the ledger nor anything between has to reach this
machine, and posts one after the other with the headers, the signatures and the bytes that a delivery has; but not
with the webhook's own auth_header, which nobody can read back. What the ledger itself delivers goes on as before,
and an inactive webhook has events to pull too. An event that is not accepted with 2xx within 10 seconds is posted
again after 1, 2, 4 and up to 30 seconds. Without the secret nothing is forwarded: a receiver that believes what is
not signed would be no trial of one.

Ends with Ctrl-C, and goes on where it ended when it is called again.

Example: claimledger webhooks listen --forward-to http://localhost:3000/webhook --service ID --webhook ID`
}

func (c *listenCommand) Run(w *world) error {
	l, err := c.prepare(w)
	if err != nil {
		return err
	}
	if _, err := l.client.GetWebhook(w.ctx, c.Service, c.Webhook); err != nil {
		return untilStopped(w.ctx, err)
	}
	fmt.Fprintf(w.stderr, "forwarding the webhook's events after %d\n", l.at)
	err = untilStopped(w.ctx, l.run(w.ctx))
	fmt.Fprintln(w.stderr, l.outcome())
	return err
}

// untilStopped is the error but for what comes of being told to stop.
func untilStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// listener forwards one webhook's events.
type listener struct {
	*listenCommand
	world  *world
	client *ledgerclient.Client
	sender attempt.Sender
	secret string
	state  sequenceFile
	at     uint64 // up to where they are forwarded, or were to be
	moved  bool   // this run has come to there, and it is remembered
}

func (c *listenCommand) prepare(w *world) (*listener, error) {
	policy := domain.TargetPolicy{AllowPrivate: true}
	if u, err := url.Parse(c.ForwardTo); err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usageError{errors.New("--forward-to must begin with http:// or https://")}
	}
	if err := domain.CheckTargetURL(c.ForwardTo, policy); err != nil {
		return nil, usageError{fmt.Errorf("--forward-to: %w", forPerson(err))}
	}
	if c.Attempts < 0 {
		return nil, usageError{errors.New("--attempts must not be negative")}
	}
	if (c.ManagementKey == "") == (c.Session == "") {
		return nil, usageError{fmt.Errorf("a management key or a session is needed: $%s or $%s", variable("management-key"), variable("session"))}
	}
	secret, err := c.secret()
	if err != nil {
		return nil, err
	}
	client, err := ledgerclient.New(ledgerclient.Config{URL: c.base(), ManagementKey: c.ManagementKey, Session: c.Session, UserAgent: "claimledger/" + version()})
	if err != nil {
		return nil, usageError{err}
	}
	l := &listener{listenCommand: c, world: w, client: client, secret: secret}
	l.sender = attempt.Sender{Transport: dialguard.NewTransport(dialguard.Options{Policy: policy}), Version: version()}
	if l.state, err = c.stateFile(); err != nil {
		return nil, err
	}
	if c.After != nil {
		l.at = *c.After
		return l, nil
	}
	l.at, err = l.state.read()
	return l, err
}

func (c *listenCommand) stateFile() (sequenceFile, error) {
	if c.StateFile != "" {
		return sequenceFile(c.StateFile), nil
	}
	// It becomes a part of a path.
	if strings.ContainsFunc(c.Webhook, func(r rune) bool { return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'f') }) {
		return "", usageError{errors.New("--webhook must be the webhook's id")}
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", usageError{fmt.Errorf("--state-file is needed: %w", err)}
	}
	return sequenceFile(filepath.Join(dir, "claimledger", "webhook-"+c.Webhook+".sequence")), nil
}

// run forwards what there is and what comes, until ctx ends or the ledger refuses.
func (l *listener) run(ctx context.Context) error {
	source, pause := l.client.EventsOf(l.Service, l.Webhook), firstRetry
	for {
		bodies, err := source.EventsAfter(ctx, l.at)
		if refusedForGood(err) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			fmt.Fprintf(l.world.stderr, "%v; asking again in %s\n", err, pause)
		}
		for _, body := range bodies {
			if err := l.forward(ctx, body); err != nil {
				return err
			}
		}
		switch {
		case err == nil && len(bodies) > 0:
			pause = firstRetry
			continue
		case err == nil:
			pause = firstRetry
			err = sleep(ctx, listenPoll)
		default:
			err = sleep(ctx, pause)
			pause = min(2*pause, lastRetry)
		}
		if err != nil {
			return err
		}
	}
}

// refusedForGood tells an answer that asking again does not change.
func refusedForGood(err error) bool {
	var refused *ledgerclient.Error
	return errors.As(err, &refused) && refused.Status >= 400 && refused.Status < 500 && refused.Status != http.StatusTooManyRequests
}

// forward posts an event until it is accepted, or given up.
func (l *listener) forward(ctx context.Context, body []byte) error {
	e, err := webhook.Parse(body)
	if err != nil {
		return err
	}
	if e.Sequence > l.at+1 {
		fmt.Fprintf(l.world.stderr, "the ledger no longer has the events from %d to %d\n", l.at+1, e.Sequence-1)
	}
	pause := firstRetry
	for n := 1; ; n++ {
		o := l.sender.Send(ctx, attempt.Request{
			URL: l.ForwardTo, WebhookID: l.Webhook, EventID: e.ID, EventType: e.Event,
			Body: body, Secrets: []string{l.secret}, At: time.Now(),
		})
		if o.Interrupted() {
			return ctx.Err()
		}
		done := o.OK() || n == l.Attempts
		report := forwarded{
			Sequence: e.Sequence, ID: e.ID, Event: e.Event, ClaimID: e.Data.ClaimID, Attempt: n,
			Status: o.Status, DurationMS: o.Duration.Milliseconds(), Accepted: o.OK(), Error: o.Error,
		}
		if !done {
			report.AgainIn = pause.Seconds()
		}
		if err := report.print(l.world.stdout, l.JSON); err != nil {
			return err
		}
		if done {
			if err := l.state.write(e.Sequence); err != nil {
				return err
			}
			l.at, l.moved = e.Sequence, true
			return nil
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, lastRetry)
	}
}

// outcome is what the run has come to, and what is remembered for the next.
func (l *listener) outcome() string {
	if l.moved {
		return fmt.Sprintf("forwarded up to %d; the next run goes on there", l.at)
	}
	remembered, err := l.state.read()
	if err != nil {
		return "nothing was forwarded" // where to begin is for the next run to say
	}
	return fmt.Sprintf("nothing was forwarded; the next run goes on after %d", remembered)
}

// forwarded is what came of an attempt to forward an event.
type forwarded struct {
	Sequence   uint64  `json:"sequence"`
	ID         string  `json:"id"`
	Event      string  `json:"event"`
	ClaimID    string  `json:"claim_id"`
	Attempt    int     `json:"attempt"`
	Accepted   bool    `json:"accepted"`
	Status     int     `json:"status,omitempty"` // 0: no answer came
	DurationMS int64   `json:"duration_ms"`
	Error      string  `json:"error,omitempty"`
	AgainIn    float64 `json:"again_in_seconds,omitempty"`
}

func (f forwarded) print(out io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(f)
	}
	result := strconv.Itoa(f.Status)
	if f.Error != "" {
		result = f.Error
	}
	if f.AgainIn > 0 {
		result += fmt.Sprintf(", again in %gs", f.AgainIn)
	}
	_, err := fmt.Fprintf(out, "%6d  %-17s  %s  %s (%d ms)\n", f.Sequence, f.Event, f.ClaimID, result, f.DurationMS)
	return err
}

// sequenceFile remembers a sequence number.
type sequenceFile string

func (f sequenceFile) read() (uint64, error) {
	text, err := os.ReadFile(string(f))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s holds no sequence number; --after says where to begin", f)
	}
	return n, nil
}

// write replaces the file as a whole. After a power cut it may be the one of before, and
// events are forwarded once more.
func (f sequenceFile) write(n uint64) error {
	dir := filepath.Dir(string(f))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, ".sequence-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = fmt.Fprintln(temp, n)
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), string(f))
}
