package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime/debug"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// Exit codes, for scripts.
const (
	exitFailure  = 1 // it was tried and did not work; for verify: it is not what it should be
	exitUsage    = 2 // the command line is wrong; nothing was tried; for verify: nothing can be said
	exitLacking  = 3 // verify: nothing that is there is wrong, and it is less than what was to be shown
	envPrefix    = "CLAIMLEDGER_"
	programTitle = "A ledger of who allowed which agent to use what, that can prove it."
)

// commands is the command line.
type commandLine struct {
	Serve     serveCommand      `cmd:"" help:"Run the ledger, or some of its roles."`
	Setup     setupCommand      `cmd:"" help:"Create the ledger's streams on an external NATS cluster."`
	Owner     ownerCommands     `cmd:"" help:"Create namespaces, add and remove their owners, and make links to sign in with."`
	Namespace namespaceCommand  `cmd:"" help:"Deactivate and activate namespaces."`
	Log       logCommands       `cmd:"" help:"Check the log itself, show who did what in it, or go on where it lost commits."`
	Export    exportCommand     `cmd:"" help:"Write the log, or a part of it, to a file that can be verified anywhere. Example: claimledger export -o ledger.ndjson"`
	Verify    verifyCommand     `cmd:"" help:"Check an export, or the log itself, without trusting the ledger. Example: claimledger verify ledger.ndjson"`
	SecretKey secretKeyCommands `cmd:"" help:"Replace the key that webhook secrets are encrypted with at rest."`
	Rebuild   rebuildCommands   `cmd:"" help:"Build read models anew from the log while everything is served, and switch to them."`
	Status    statusCommand     `cmd:"" help:"Show how a running ledger is."`
	Webhooks  webhooksCommands  `cmd:"" help:"For who receives webhooks: try a receiver out on this machine, and find out why a signature does not verify."`
	Demo      demoCommand       `cmd:"" help:"Walk through a claim's life, with the real requests."`
	Bench     benchCommands     `cmd:"" help:"Measure how fast the ledger is on this machine, beside what its parts can do."`
	Version   versionCommand    `cmd:"" help:"Show the version."`
}

// world is what a command may touch besides its flags.
type world struct {
	ctx            context.Context
	stdout, stderr io.Writer
}

// usageError is a command line that cannot be right.
type usageError struct{ error }

// undecidedError ends a command that was to tell good from bad, and could not.
type undecidedError struct{ error }

// incompleteError ends one that found nothing wrong, and less than it was to find.
type incompleteError struct{ error }

// Run runs one command. env holds KEY=value pairs, as os.Environ gives them.
func Run(ctx context.Context, args, env []string, stdout, stderr io.Writer) error {
	var line commandLine
	parsed, err := line.parse(args, env, stdout, stderr)
	if err != nil || parsed == nil {
		return err
	}
	return parsed.Run(&world{ctx, stdout, stderr})
}

// parse reads a command line. What it gives is nil where --help has printed what there
// is to say.
func (line *commandLine) parse(args, env []string, stdout, stderr io.Writer) (*kong.Context, error) {
	exited := false
	parser, err := kong.New(line,
		kong.Name("claimledger"), kong.Description(programTitle),
		kong.Writers(stdout, stderr), kong.Exit(func(int) { exited = true }),
		kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Resolvers(environment(env)), kong.ValueFormatter(formatHelp),
		kong.TypeMapper(reflect.TypeFor[[]time.Duration](), durations{}),
	)
	if err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(args)
	switch {
	case exited:
		return nil, nil
	case err != nil:
		return nil, usageError{err}
	}
	return parsed, nil
}

func exitCode(err error, stderr io.Writer) int {
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "claimledger: %v (claimledger --help)\n", err)
		return exitUsage
	case errors.As(err, new(undecidedError)):
		fmt.Fprintf(stderr, "claimledger: %v\n", err)
		return exitUsage
	case errors.As(err, new(incompleteError)):
		fmt.Fprintf(stderr, "claimledger: %v\n", err)
		return exitLacking
	default:
		fmt.Fprintf(stderr, "claimledger: %v\n", err)
		return exitFailure
	}
}

// environment gives every flag a variable of the same name. What the command line says
// wins. An empty variable is as good as none, as whoever writes a unit file or a compose
// file expects.
func environment(env []string) kong.Resolver {
	values := map[string]string{}
	for _, pair := range env {
		if key, value, ok := strings.Cut(pair, "="); ok && value != "" {
			values[key] = value
		}
	}
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		value, ok := values[variable(flag.Name)]
		if !ok {
			return nil, nil
		}
		if flag.IsBool() && value != "true" && value != "false" {
			return nil, fmt.Errorf("%s is true or false, not %q", variable(flag.Name), value)
		}
		return value, nil
	})
}

func variable(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// formatHelp names each flag's variable in the help.
func formatHelp(value *kong.Value) string {
	if value.Flag == nil || value.Name == "help" {
		return value.Help
	}
	help := value.Help
	if value.HasDefault && value.Default != "0" {
		help += " Default: " + value.Default + "."
	}
	return strings.TrimSpace(help + " [$" + variable(value.Name) + "]")
}

// durations reads a list such as 5m,1h.
type durations struct{}

func (durations) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("durations", &text); err != nil {
		return err
	}
	list := []time.Duration{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		d, err := time.ParseDuration(part)
		if err != nil || d < 0 {
			return fmt.Errorf("%q is not a duration such as 5m or 1h30m", part)
		}
		list = append(list, d)
	}
	target.Set(reflect.ValueOf(list))
	return nil
}

// version is the module's version or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "development"
}

type versionCommand struct{}

// Help is shown below the flags.
func (versionCommand) Help() string { return "Example: claimledger version" }

func (versionCommand) Run(w *world) error {
	_, err := fmt.Fprintln(w.stdout, "claimledger", version())
	return err
}
