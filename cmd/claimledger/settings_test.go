package main

import (
	"bytes"
	"io"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// outcome runs a command line in this process that ends by itself.
func outcome(t *testing.T, env []string, args ...string) result {
	t.Helper()
	var out, log bytes.Buffer
	code := exitCode(Run(t.Context(), args, env, &out, &log), &log)
	return result{code, out.String(), log.String()}
}

// serveSettings are what a command line and an environment make of serve.
func serveSettings(t *testing.T, env []string, args ...string) (*serveCommand, error) {
	t.Helper()
	var line commandLine
	_, err := line.parse(append([]string{"serve"}, args...), env, io.Discard, io.Discard)
	return &line.Serve, err
}

func TestSettings(t *testing.T) {
	tests := []struct {
		name string
		env  []string
		args []string
		get  func(*serveCommand) any
		want any
	}{
		{"default", nil, nil, func(c *serveCommand) any { return c.Listen }, "127.0.0.1:8787"},
		{"environment", []string{"CLAIMLEDGER_LISTEN=127.0.0.1:1"}, nil, func(c *serveCommand) any { return c.Listen }, "127.0.0.1:1"},
		{"flag before environment", []string{"CLAIMLEDGER_LISTEN=127.0.0.1:1"}, []string{"--listen", "127.0.0.1:2"},
			func(c *serveCommand) any { return c.Listen }, "127.0.0.1:2"},
		{"empty is as unset", []string{"CLAIMLEDGER_LISTEN=", "CLAIMLEDGER_REPLICAS=", "CLAIMLEDGER_WEBHOOK_ALLOW_PRIVATE="}, nil,
			func(c *serveCommand) any { return c.Listen }, "127.0.0.1:8787"},
		{"a name with an abbreviation", []string{"CLAIMLEDGER_NATS_URL=nats://n"}, nil, func(c *serveCommand) any { return c.NATSURL }, "nats://n"},
		{"another program's", []string{"LISTEN=127.0.0.1:1"}, nil, func(c *serveCommand) any { return c.Listen }, "127.0.0.1:8787"},
		{"true", []string{"CLAIMLEDGER_WEBHOOK_ALLOW_PRIVATE=true"}, nil, func(c *serveCommand) any { return c.WebhookAllowPrivate }, true},
		{"false", []string{"CLAIMLEDGER_WEBHOOK_ALLOW_PRIVATE=false"}, nil, func(c *serveCommand) any { return c.WebhookAllowPrivate }, false},
		{"true, and a flag that says false", []string{"CLAIMLEDGER_WEBHOOK_ALLOW_PRIVATE=true"}, []string{"--webhook-allow-private=false"},
			func(c *serveCommand) any { return c.WebhookAllowPrivate }, false},
		{"roles", []string{"CLAIMLEDGER_ROLES=api,relay"}, nil, func(c *serveCommand) any { return c.Roles }, []string{"api", "relay"}},
		{"all roles", nil, nil, func(c *serveCommand) any { return c.Roles }, []string{"api", "projector", "relay"}},
		{"retries", []string{"CLAIMLEDGER_WEBHOOK_RETRIES=1s, 2m"}, nil,
			func(c *serveCommand) any { return c.WebhookRetries }, []time.Duration{time.Second, 2 * time.Minute}},
		{"retries' default", nil, nil, func(c *serveCommand) any { return c.WebhookRetries },
			[]time.Duration{5 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour}},
		{"sign-up's default", nil, nil, func(c *serveCommand) any { return c.SignUp }, false},
		{"sign-up", []string{"CLAIMLEDGER_SIGN_UP=true"}, nil, func(c *serveCommand) any { return c.SignUp }, true},
		{"proxies", []string{"CLAIMLEDGER_TRUSTED_PROXIES=10.0.0.0/8,fd00::/8"}, nil,
			func(c *serveCommand) any { return c.TrustedProxies }, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}},
		{"no retries", nil, []string{"--webhook-retries", ""}, func(c *serveCommand) any { return c.WebhookRetries }, []time.Duration{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := serveSettings(t, test.env, test.args...)
			if err != nil {
				t.Fatal(err)
			}
			if got := test.get(c); !reflect.DeepEqual(got, test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

// A command line that cannot be right is refused before anything is touched.
func TestBadSettings(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		env  []string
		args []string
		says string // what the message names
	}{
		{nil, []string{"serve", "--nonsense"}, "--nonsense"},
		{nil, []string{"nonsense"}, "nonsense"},
		{nil, []string{"serve", "--roles", "api,cook"}, "--roles"},
		{nil, []string{"serve", "--roles", ""}, "--roles"},
		{nil, []string{"serve", "--stale-after", "soon"}, "--stale-after"},
		{nil, []string{"serve", "--stale-after", "0s"}, "--stale-after"},
		{nil, []string{"serve", "--head-interval", "0s"}, "--head-interval"},
		{nil, []string{"serve", "--max-lag", "0s"}, "--max-lag"},
		{nil, []string{"serve", "--webhook-retries", "1s,soon"}, "--webhook-retries"},
		{nil, []string{"serve", "--webhook-retries", "-1s"}, "--webhook-retries"},
		{nil, []string{"serve", "--replicas", "3"}, "--replicas"},
		{nil, []string{"serve", "--replicas", "6", "--nats-url", "nats://n"}, "--replicas"},
		{nil, []string{"serve", "--max-keys", "0"}, "--max-keys"},
		{nil, []string{"serve", "--rate-limit-key", "-1"}, "--rate-limit-key"},
		{nil, []string{"serve", "--trusted-proxies", "10.0.0.1/33"}, "--trusted-proxies"},
		{nil, []string{"serve", "--max-connections", "-1"}, "--max-connections"},
		{nil, []string{"serve", "--claims-memory", "0"}, "--claims-memory"},
		{nil, []string{"serve", "--claims-memory", "2000000"}, "--claims-memory"},
		{nil, []string{"serve", "--max-connections", "1000000000"}, "ulimit -n"},
		{nil, []string{"serve", "--log-level", "loud"}, "--log-level"},
		{nil, []string{"serve", "--public-url", "ledger.example.com"}, "--public-url"},
		{nil, []string{"serve", "--public-url", "https://ledger.example.com/#x"}, "--public-url"},
		{nil, []string{"serve", "--nats-url", "nats://n"}, "--database-url"},
		{[]string{"CLAIMLEDGER_WEBHOOK_ALLOW_PRIVATE=perhaps"}, []string{"serve"}, "--webhook-allow-private"},
		{[]string{"CLAIMLEDGER_MAX_KEYS=many"}, []string{"serve"}, "--max-keys"},
		{[]string{"CLAIMLEDGER_ROLES=cook"}, []string{"serve"}, "--roles"},
		{nil, []string{"owner", "create", "acme"}, "--email"},
		{nil, []string{"owner", "create", "--email", "o@example.com"}, "namespace"},
		{nil, []string{"owner", "create", "acme", "--email", "nobody"}, "--email"},
		{nil, []string{"owner", "create", "acme", "--email", "A <o@example.com>"}, "--email"},
		{nil, []string{"owner", "add", "acme"}, "--email"},
		{nil, []string{"owner", "add", "acme", "--email", "nobody"}, "--email"},
		{nil, []string{"owner", "remove", "acme"}, "owner-id"},
		{nil, []string{"owner", "list"}, "namespace"},
		{nil, []string{"serve", "--sign-up"}, "--sign-up"}, // at 127.0.0.1 there are no passkeys
		{nil, []string{"serve", "--sign-up", "--public-url", "http://ledger.example.com"}, "--sign-up"},
		{[]string{"CLAIMLEDGER_SIGN_UP=perhaps"}, []string{"serve"}, "--sign-up"},
		{nil, []string{"namespace", "deactivate", "acme", "--reason", strings.Repeat("x", 5000)}, "--reason"},
		{nil, []string{"setup"}, "--nats-url"},
		{nil, nil, "expected one of"},
	}
	for _, test := range tests {
		line := strings.Join(append(test.env, test.args...), " ")
		t.Run(line[:min(60, len(line))], func(t *testing.T) {
			args := test.args
			if len(args) > 0 && args[0] == "serve" {
				args = append(slices.Clone(args), "--data-dir", dir+"/data", "--listen", "127.0.0.1:0")
			}
			r := outcome(t, test.env, args...)
			if r.code != exitUsage || !strings.Contains(r.err, test.says) {
				t.Errorf("it ended with %d: %s", r.code, r.err)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var line commandLine
	parser, err := kong.New(&line, kong.TypeMapper(reflect.TypeFor[[]time.Duration](), durations{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(true) {
		name := leaf.FullPath()
		path := strings.Fields(name)[1:]
		t.Run(strings.Join(path, " "), func(t *testing.T) {
			r := outcome(t, nil, append(path, "--help")...)
			flat := strings.Join(strings.Fields(r.out), " ")
			if r.code != 0 || !strings.Contains(flat, "Example: claimledger "+strings.Join(path, " ")) {
				t.Errorf("it ended with %d:\n%s%s", r.code, r.out, r.err)
			}
		})
	}
	if r := outcome(t, nil, "serve", "--help"); !strings.Contains(r.out, "$CLAIMLEDGER_WEBHOOK_ALLOW_PRIVATE") {
		t.Errorf("the help names no variables:\n%s", r.out)
	}
	if r := outcome(t, nil, "--help"); r.code != 0 || !strings.Contains(r.out, "owner create") {
		t.Errorf("it ended with %d:\n%s", r.code, r.out)
	}
	if r := outcome(t, nil, "version"); r.code != 0 || !strings.HasPrefix(r.out, "claimledger ") {
		t.Errorf("it ended with %d:\n%s", r.code, r.out)
	}
}
