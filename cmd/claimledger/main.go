// Command claimledger runs the ledger, and is what its operators and auditors use.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(exitCode(Run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr), os.Stderr))
}
