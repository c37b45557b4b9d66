package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
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
	beConsumer = "consumer of webhooks"
	beUnsynced = "claimledger with a NATS server that does not sync"
)

// atOnce is how many tests run at a time: they wait for processes more than they compute.
const atOnce = 3

func TestMain(m *testing.M) {
	switch os.Getenv(beVariable) {
	case beLedger:
		hurry()
		main()
	case beNATS:
		natsMain()
	case beConsumer:
		consumerMain()
	case beUnsynced:
		unsyncedMain()
	default:
		pgtest.AtOnce(atOnce)
		pgtest.Main(m)
	}
}

// natsMain runs a NATS server from a configuration file, at an address, and at another
// for the rest of its cluster: os.Args[1] to [3]. Where the last is empty it is alone, and
// the configuration's routes are not for it.
func natsMain() {
	s := newNATS(func(*server.Options) {})
	s.ConfigureLogger()
	s.Start() // handles SIGTERM itself
	s.WaitForShutdown()
}

// unsyncedMain runs one within a ledger, and has it leave to the system when what it stores
// goes to the disk. os.Args are natsMain's, the administrator's URL and the ledger's own.
func unsyncedMain() {
	s := newNATS(func(o *server.Options) { o.SyncAlways, o.NoSigs = false, true })
	s.Start()
	if !s.ReadyForConnections(patience) {
		fail(errors.New("the NATS server is not ready"))
	}
	setup := []string{"setup", "--nats-url", os.Args[4], "--replicas", "1"}
	if err := Run(context.Background(), setup, nil, io.Discard, os.Stderr); err != nil {
		fail(err)
	}
	os.Args = append(os.Args[:1], os.Args[5:]...)
	main()
}

func newNATS(change func(*server.Options)) *server.Server {
	options, err := server.ProcessConfigFile(os.Args[1])
	if err != nil {
		fail(err)
	}
	port := func(address string) int {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			fail(err)
		}
		return int(at.Port())
	}
	options.Host, options.Port = "127.0.0.1", port(os.Args[2])
	if os.Args[3] == "" {
		options.Cluster, options.Routes = server.ClusterOpts{}, nil
	} else {
		options.Cluster.Host, options.Cluster.Port = "127.0.0.1", port(os.Args[3])
	}
	change(options)
	s, err := server.NewServer(options)
	if err != nil {
		fail(err)
	}
	return s
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
