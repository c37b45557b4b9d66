package logtest

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// OnMemory is the harness of the log in memory.
func OnMemory(*testing.T) *Harness {
	m := eventstore.NewMemory()
	return &Harness{
		Log: m, Another: m, Many: 600,
		Inject: func(_ *testing.T, b domain.Boundary, stored []byte) { m.Inject(b, stored) },
	}
}

// OnEmbedded is the harness of the server within the process, as the process and
// as operator commands reach it.
func OnEmbedded(t *testing.T) *Harness {
	stream, node := Embedded(t)
	nc, err := node.Connect()
	if err != nil {
		t.Fatal(err)
	}
	access, err := eventstore.ReadOperatorFile(node.Dir())
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(access.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := NewProxy(t, u.Host)
	user := url.UserPassword(access.User, access.Password).String()
	return &Harness{
		Log: stream, Another: openLog(t, nc, 1), Many: 600, Inject: injectVia(nc), Batches: batchesVia(nc),
		Proxy: proxy, Faulty: openLog(t, connect(t, "nats://"+user+"@"+proxy.Addr()), 1),
	}
}

// OnSingle is the harness of one server that stands by itself, and restarts.
func OnSingle(t *testing.T) *Harness {
	node := NewNodes(t, 1, durable)[0]
	nc := connect(t, node.URL())
	create(t, nc, 1)
	return &Harness{
		Log: openLog(t, nc, 1), Another: openLog(t, connect(t, node.URL()), 1), Many: 20, Inject: injectVia(nc), Batches: batchesVia(nc),
		Disturb: func(t *testing.T) {
			node.Stop()
			node.Start(t)
		},
	}
}

// OnCluster is the harness of three servers, all of which hold the log. The one
// that leads it stops, and comes back when the others have gone on.
func OnCluster(t *testing.T) *Harness {
	nodes := NewNodes(t, 3, durable)
	var urls []string
	for _, n := range nodes {
		urls = append(urls, n.URL())
	}
	all := strings.Join(urls, ",")
	nc := connect(t, all)
	create(t, nc, 3)
	proxy := NewProxy(t, nodes[1].addr)
	h := &Harness{
		Log: openLog(t, nc, 3), Another: openLog(t, connect(t, all), 3), Many: 600, Inject: injectVia(nc), Batches: batchesVia(nc),
		Proxy: proxy, Faulty: openLog(t, connect(t, "nats://"+proxy.Addr()), 3),
	}
	h.Disturb = func(t *testing.T) {
		leader := leaderOf(t, nodes)
		leader.Stop()
		h.wait(t, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), shortDeadline)
			defer cancel()
			_, err := h.Another.Last(ctx)
			return err == nil
		})
		leader.Start(t)
	}
	return h
}

// Cluster starts a log on three servers that stop when the test ends, for measurements.
func Cluster(t testing.TB) (*nats.Conn, *eventstore.Stream) {
	t.Helper()
	nodes := NewNodes(t, 3, durable)
	nc := connect(t, nodes[0].URL())
	create(t, nc, 3)
	return nc, openLog(t, nc, 3)
}

func leaderOf(t *testing.T, nodes []*Node) (leader *Node) {
	t.Helper()
	for ctx := deadline(t); leader == nil && ctx.Err() == nil; {
		for _, n := range nodes {
			if n.server.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, eventstore.StreamName) {
				leader = n
			}
		}
	}
	if leader == nil {
		t.Fatal("no server leads the log")
	}
	return leader
}

func connect(t testing.TB, urls string) *nats.Conn {
	t.Helper()
	nc, err := eventstore.Connect(urls, "", Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func create(t testing.TB, nc *nats.Conn, replicas int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	if err := eventstore.Create(ctx, nc, replicas); err != nil {
		t.Fatal(err)
	}
}

func openLog(t testing.TB, nc *nats.Conn, replicas int) *eventstore.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	stream, err := eventstore.Open(ctx, nc, replicas, Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func injectVia(nc *nats.Conn) func(*testing.T, domain.Boundary, []byte) {
	return func(t *testing.T, b domain.Boundary, stored []byte) {
		if _, err := nc.RequestWithContext(deadline(t), eventstore.Subject(b), stored); err != nil {
			t.Fatal(err)
		}
	}
}

func batchesVia(nc *nats.Conn) func(*testing.T, uint64) map[uint64]string {
	return func(t *testing.T, after uint64) map[uint64]string {
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		consumer, err := js.OrderedConsumer(deadline(t), eventstore.StreamName, jetstream.OrderedConsumerConfig{
			DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1, HeadersOnly: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		messages, err := consumer.Messages()
		if err != nil {
			t.Fatal(err)
		}
		defer messages.Stop()
		ids := make(map[uint64]string)
		for pending := consumer.CachedInfo().NumPending; uint64(len(ids)) < pending; {
			m, err := messages.Next(jetstream.NextContext(deadline(t)))
			if err != nil {
				t.Fatal(err)
			}
			meta, err := m.Metadata()
			if err != nil {
				t.Fatal(err)
			}
			ids[meta.Sequence.Stream] = m.Headers().Get("Nats-Batch-Id")
		}
		return ids
	}
}

// Node is a NATS server that can be stopped and started again on its store and its
// ports.
type Node struct {
	addr    string // of clients
	options func() *server.Options
	server  *server.Server
}

// NewNodes starts servers that form a cluster, if there is more than one. What
// they have in common is configure's; names, places and routes are set here.
func NewNodes(t testing.TB, count int, configure func() *server.Options) []*Node {
	t.Helper()
	nodes := make([]*Node, count)
	routes := make([]string, count)
	routePorts := make([]int, count)
	for i := range nodes {
		routePorts[i] = freePort(t)
		routes[i] = fmt.Sprintf("nats://127.0.0.1:%d", routePorts[i])
	}
	for i := range nodes {
		port, dir := freePort(t), t.TempDir()
		nodes[i] = &Node{addr: fmt.Sprintf("127.0.0.1:%d", port), options: func() *server.Options {
			o := configure()
			o.ServerName, o.Host, o.Port, o.StoreDir = fmt.Sprintf("node-%d", i), "127.0.0.1", port, dir
			o.NoSigs, o.NoLog = true, true
			if count > 1 {
				o.Cluster.Name, o.Cluster.Host, o.Cluster.Port = "test", "127.0.0.1", routePorts[i]
				o.Routes = server.RoutesFromStr(strings.Join(routes, ","))
				// A client that connects to a proxy stays with it.
				o.Cluster.NoAdvertise = true
			}
			return o
		}}
		nodes[i].Start(t)
	}
	t.Cleanup(func() {
		for _, n := range nodes {
			n.Stop()
		}
	})
	return nodes
}

// durable is the configuration that the ledger asks of a server.
func durable() *server.Options { return &server.Options{JetStream: true, SyncAlways: true} }

// Addr is where clients connect.
func (n *Node) Addr() string { return n.addr }

// URL is where clients connect that need no password.
func (n *Node) URL() string { return "nats://" + n.addr }

// Start returns when clients can connect; a cluster may not have a leader yet.
func (n *Node) Start(t testing.TB) {
	s, err := server.NewServer(n.options())
	if err != nil {
		t.Fatalf("start a server: %v", err)
	}
	s.Start()
	if !s.ReadyForConnections(setupTimeout) {
		t.Fatal("a server is not ready")
	}
	n.server = s
}

// Stop returns when the server has ended.
func (n *Node) Stop() {
	n.server.Shutdown()
	n.server.WaitForShutdown()
}

// freePort is one that nobody listens on now. A server that restarts needs to be
// where it was.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
