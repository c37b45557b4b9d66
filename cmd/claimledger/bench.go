package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/cmd/claimledger/bench"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgserver"
)

type benchCommands struct {
	Run  benchCommand `cmd:"" default:"withargs" help:"Measure a ledger of the bench's own against yardsticks beside it. What bench does unless told otherwise."`
	Soak soakCommand  `cmd:"" help:"Append many commits in one run, and show whether it becomes slower or larger."`

	// What the bench runs as processes of their own.
	Ledger     benchLedger     `cmd:"" hidden:""`
	Publisher  benchPublisher  `cmd:"" hidden:""`
	Signatures benchSignatures `cmd:"" hidden:""`
	Receiver   benchReceiver   `cmd:"" hidden:""`
}

// Help is shown below the commands.
func (benchCommands) Help() string {
	return benchHelp() + "\n\nThe flags: claimledger bench run --help. Example: claimledger bench --workload submit-64 --json"
}

// benchHelp says what is measured, and against what.
func benchHelp() string {
	return `Workloads: ` + strings.Join(bench.Names(), ", ") + `.

It starts a ledger of its own (serve, with its NATS and PostgreSQL) and each yardstick in
processes of this program, and runs both sides of a workload by turns, several rounds, after a
warm-up. The load generator is a third process on the same CPUs. Figures are medians; the ratio is
the ledger's median divided by the yardstick's, wanted at least for rates and at most for latencies.

The yardstick of what writes is the raw publisher: JetStream with the ledger's own settings (sync
always, the same stream, a connection within the process), one publish a message whose
acknowledgement is awaited, as many goroutines as the ledger has connections, as many subjects as
namespaces, and the very bytes that the ledger stored. That of verify is the same HTTP server with a
handler that checks the signature and nothing else.

Requests are made and signed before a round begins (a signature lives 300 seconds) and go over
kept-alive connections; the raw publisher is loaded from within its process, so its load costs less.
A gateway's key signs for all agents of a namespace; submit-own-keys has each agent sign for itself.
rebuild builds all read models anew from a log of --events and more, while commands are given, and
counts their rows until the last one serves; its yardstick is a COPY of those rows into
tables like theirs. Both run in the process that makes the load; a round takes as long as it takes.
submit-tail begins requests at a steady rate whatever became of those before, and counts from when
each was due. submit-large holds one namespace with --claims claims against one with few, in the same
ledger, and load-large a new process's first look at it with a snapshot against one without. Webhooks
lead to a receiver in a process of its own: commit-to-webhook is from a commit's time to the first
byte there, at 500 events a second, webhooks-noisy the same while a tenth of the receivers do as
--noise says, and webhooks-throughput a backlog of deliveries against a bare client's posts. Every
answer is checked, a wrong one ends the run; after each round that writes, the log is read to see that
every acknowledged commit is there. Before the other side's turn, the read models catch up. On a file
system in memory a sync costs nothing, and the figures mean nothing.`
}

// benchSettings are the flags of both kinds of run.
type benchSettings struct {
	DataDir     string   `default:"." help:"Where the bench makes its temporary directory, on the disk that is to be measured." placeholder:"DIR"`
	Namespaces  int      `default:"256" help:"Namespaces that writing spreads over." placeholder:"N"`
	Roles       []string `enum:"api,projector,relay" default:"api,projector,relay" help:"Of the ledger: its read models and webhooks compete with commands for the machine." placeholder:"ROLE,…"`
	PostgresBin string   `help:"Where PostgreSQL's server binaries are, if they are not found." placeholder:"DIR"`
	JSON        bool     `help:"Print JSON."`
}

type benchCommand struct {
	Workload string        `default:"*" help:"Which: names or patterns, comma between them." placeholder:"PATTERN,…"`
	Rounds   int           `default:"3" help:"Rounds of each side." placeholder:"N"`
	Duration time.Duration `default:"5s" help:"Of each side in each round." placeholder:"DURATION"`
	Claims   int           `default:"100000" help:"Approved claims that verify is asked about, and claims of the namespace of submit-large and load-large." placeholder:"N"`
	Events   int           `default:"20000" help:"Events in the log that rebuild builds the read models from, at least." placeholder:"N"`
	Most     int           `name:"most-connections" default:"0" help:"For small machines: no workload gets more than these; 0: as its name says." placeholder:"N"`
	Noise    string        `default:"hang" enum:"hang,delay,refuse,reset" help:"What a tenth of the endpoints of webhooks-noisy do: hang, delay answers by 5 s, refuse connections, reset them." placeholder:"BEHAVIOUR"`
	Check    bool          `help:"Exit 1 where a wanted ratio is missed."`
	Profile  string        `help:"Leave profiles of the ledger under each workload in this directory." placeholder:"DIR"`
	benchSettings
}

// Help is shown below the flags.
func (benchCommand) Help() string {
	return benchHelp() + "\n\nExample: claimledger bench run --workload 'submit-*' --rounds 5"
}

// Run measures and prints.
func (c *benchCommand) Run(w *world) error {
	config := c.config(w)
	config.Workloads, config.Rounds, config.Duration, config.Claims, config.Events, config.Most = c.Workload, c.Rounds, c.Duration, c.Claims, c.Events, c.Most
	config.Noise = bench.Behaviour(c.Noise)
	if err := config.Validate(); err != nil {
		return usageError{err}
	}
	if c.Profile != "" {
		if err := os.MkdirAll(c.Profile, 0o755); err != nil {
			return err
		}
		var err error
		if config.Profile, err = filepath.Abs(c.Profile); err != nil {
			return err
		}
	}
	var report bench.Report
	err := c.within(w, &config, func() (err error) {
		report, err = bench.Run(w.ctx, config)
		return err
	})
	if err != nil {
		return err
	}
	if err := printAs(w.stdout, c.JSON, report); err != nil {
		return err
	}
	if config.Profile != "" {
		fmt.Fprintf(w.stderr, "Profiles are in %s, for example: go tool pprof -top %s\n", config.Profile,
			filepath.Join(config.Profile, report.Results[0].Workload+".cpu.pprof"))
	}
	if missed := report.Missed(); c.Check && len(missed) > 0 {
		return fmt.Errorf("missed: %s", strings.Join(missed, ", "))
	}
	return nil
}

type soakCommand struct {
	Commits      int  `default:"1000000" help:"How many." placeholder:"N"`
	Connections  int  `default:"64" help:"How many clients at once." placeholder:"N"`
	Moving       bool `help:"Each tenth has namespaces of its own: those before are in use no more."`
	ClaimsMemory int  `default:"0" help:"What the ledger may hold of claims in memory, in MiB; 0: as serve does unless told otherwise." placeholder:"MIB"`
	benchSettings
}

// Help is shown below the flags.
func (soakCommand) Help() string {
	return `Claims are submitted, approved and revoked. Signing and checking the log are between the loads and
not in the rates. The claims that the ledger holds grow with what is in use until they take what they may:
a load that moves on shows what happens from there.

Example: claimledger bench soak --commits 1000000 --moving --claims-memory 32`
}

// Run soaks and prints.
func (c *soakCommand) Run(w *world) error {
	if c.Commits < bench.MinSoak || c.Connections < 1 {
		return usageError{fmt.Errorf("--commits must be at least %d, and --connections 1", bench.MinSoak)}
	}
	if c.ClaimsMemory < 0 || c.ClaimsMemory > maxClaimsMemory {
		return usageError{fmt.Errorf("--claims-memory must be from 0 to %d", maxClaimsMemory)}
	}
	config := c.config(w)
	if err := config.ValidateSoak(); err != nil {
		return usageError{err}
	}
	var soak bench.Soak
	err := c.within(w, &config, func() (err error) {
		soak, err = bench.RunSoak(w.ctx, config, bench.SoakLoad{
			Commits: c.Commits, Connections: c.Connections, Moving: c.Moving, ClaimsMemory: c.ClaimsMemory,
		})
		return err
	})
	if err != nil {
		return err
	}
	return printAs(w.stdout, c.JSON, soak)
}

func printAs(out io.Writer, asJSON bool, what interface{ Print(io.Writer) error }) error {
	if asJSON {
		return json.NewEncoder(out).Encode(what)
	}
	return what.Print(out)
}

func (c *benchSettings) config(w *world) bench.Config {
	config := bench.Config{
		Program: bench.Program{
			Ledger: []string{"bench", "ledger"}, Publisher: []string{"bench", "publisher"}, Signatures: []string{"bench", "signatures"}, Receiver: []string{"bench", "receiver"},
			URL: toldURL, OpenLog: joinLog, OpenDatabase: joinDatabase, Register: registerAll, Cold: coldStart, Rebuild: rebuildAll, Copy: copyAll,
			Executor: func(ctx context.Context, log eventstore.Log) (*commands.Executor, error) {
				return executor(ctx, log, slog.New(slog.DiscardHandler))
			},
		},
		Progress: w.stderr, Namespaces: c.Namespaces, Roles: c.Roles,
	}
	if c.PostgresBin != "" {
		config.ServeFlags = []string{"--postgres-bin", c.PostgresBin}
	}
	return config
}

// within runs something in a temporary directory on the disk that is to be measured.
func (c *benchSettings) within(w *world, config *bench.Config, run func() error) error {
	dir, err := os.MkdirTemp(c.DataDir, "claimledger-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if config.Dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := os.Chmod(dir, dataDirMode); err != nil { // it is ours: MkdirTemp made it just now
		return err
	}
	if bench.InMemory(dir) {
		fmt.Fprintf(w.stderr, "warning: %s is in memory, where a sync costs nothing: what is measured here says nothing about a disk\n", c.DataDir)
	}
	err = run()
	return errors.Join(err, pgserver.Remove(filepath.Join(config.Dir, "ledger", postgresDir)))
}

func joinLog(ctx context.Context, dataDir string) (eventstore.Log, func() error, error) {
	return placeSettings{DataDir: dataDir}.openLog(ctx, false, slog.New(slog.DiscardHandler))
}

func joinDatabase(ctx context.Context, dataDir string) (*pgx.Conn, error) {
	url, running, err := pgserver.Running(filepath.Join(dataDir, postgresDir))
	if err == nil && !running {
		err = errors.New("the ledger's PostgreSQL does not run")
	}
	if err != nil {
		return nil, err
	}
	return pgx.Connect(ctx, url)
}

// coldStart makes an executor that knows of the registries alone. It never runs, so that it
// saves no snapshot either.
func coldStart(ctx context.Context, log eventstore.Log, snapshots bool) (func(string) error, error) {
	logger := slog.New(slog.DiscardHandler)
	x := commands.NewExecutor(commands.Config{
		Log: log, Now: time.Now, Metrics: commands.NewMetrics(prometheus.NewRegistry()), Logger: logger, ClaimsMemory: 1 << 30,
	})
	if stream, ok := log.(*eventstore.Stream); ok && snapshots {
		x.Snapshots = stream.Snapshots()
	}
	return func(namespace string) error {
		return x.ViewClaims(ctx, namespace, func(s *domain.Claims) uint64 { return s.Version() })
	}, x.Load(ctx)
}

// registerAll makes namespaces as owner create does, many with one look at the log.
func registerAll(ctx context.Context, log eventstore.Log, namespaces []string) ([]string, error) {
	x, err := executor(ctx, log, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	tokens := make([]string, len(namespaces))
	for i, name := range namespaces {
		token, recorded := newLoginToken(name)
		cmd := domain.RegisterNamespace{OwnerID: "owner_" + strings.ToLower(newID()), Token: recorded}
		if _, _, err := x.Registry(ctx, name, cmd, commands.Meta{Actor: operator, Ref: domain.CommandRef{Name: "namespace.register"}}); err != nil {
			return nil, err
		}
		tokens[i] = token
	}
	return tokens, nil
}

// benchLedger is serve, with profiles on demand. They go through its standard input and
// not through its address, where nobody must find them.
type benchLedger struct{ serveCommand }

func (c *benchLedger) Run(w *world) error {
	ctx, stop := context.WithCancel(w.ctx)
	defer stop()
	var control bench.Control
	go func() {
		defer stop() // the bench is gone
		if err := bench.Serve(os.Stdin, w.stdout, control.Do); err != nil {
			fmt.Fprintln(w.stderr, err)
		}
	}()
	return c.serveCommand.Run(&world{ctx, w.stdout, w.stderr})
}

type benchPublisher struct {
	Dir string `arg:"" help:"For its store."`
}

func (c *benchPublisher) Run(w *world) error {
	return bench.Publish(w.ctx, c.Dir, os.Stdin, w.stdout, slog.New(slog.NewTextHandler(w.stderr, nil)))
}

type benchReceiver struct{}

func (benchReceiver) Run(w *world) error { return bench.Receive(os.Stdin, w.stdout) }

type benchSignatures struct{}

func (benchSignatures) Run(w *world) error {
	listener, err := (&net.ListenConfig{}).Listen(w.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	handler, err := bench.SignatureHandler(publicURL("", address))
	if err != nil {
		return err
	}
	most, err := connectionLimit(0) // the same bound as the ledger beside it has
	if err != nil {
		return err
	}
	front := listen(listener, handler, newConnections(most, prometheus.NewRegistry()), slog.New(slog.NewTextHandler(w.stderr, nil)))
	err = bench.Serve(os.Stdin, w.stdout, func(struct{}) (bench.SignatureServer, error) {
		return bench.NewSignatureServer(address), nil
	})
	stopping, done := context.WithTimeout(context.WithoutCancel(w.ctx), stopTimeout)
	defer done()
	front.drain(stopping)
	return err
}
