package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// beVariable tells this test binary which program to be. As the ledger it runs as a
// process of its own, which a test can kill, with the race detector in it.
const (
	beVariable = "TEST_BINARY_IS"
	beLedger   = "claimledger"
	beNATS     = "nats-server"
)

func TestMain(m *testing.M) {
	switch os.Getenv(beVariable) {
	case beLedger:
		hurry()
		main()
	case beNATS:
		natsMain()
	default:
		pgtest.Main(m)
	}
}

// natsMain runs a NATS server from a configuration file, at an address: os.Args[1] and
// [2]. It is one node; the configuration's routes are not for it.
func natsMain() {
	options, err := server.ProcessConfigFile(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	options.Cluster, options.Routes = server.ClusterOpts{}, nil
	if _, err := fmt.Sscanf(os.Args[2], "127.0.0.1:%d", &options.Port); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	options.Host = "127.0.0.1"
	s, err := server.NewServer(options)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s.ConfigureLogger()
	s.Start() // handles SIGTERM itself
	s.WaitForShutdown()
}
