package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// startDeployed starts three servers from the configuration that operators get,
// with other ports and directories, and returns the URLs of a user.
func startDeployed(t *testing.T) (urls func(user string) string) {
	for _, name := range []string{
		"SERVER_NAME", "STORE_DIR", "ROUTE_PASSWORD", "SYS_PASSWORD", "ADMIN_PASSWORD", "CLAIMLEDGER_PASSWORD",
	} {
		t.Setenv("NATS_"+name, "secret-of-"+name)
	}
	for i := range 3 {
		t.Setenv(fmt.Sprintf("NATS_ROUTE_%d", i+1), fmt.Sprintf("nats-route://route:secret-of-ROUTE_PASSWORD@node-%d:6222", i))
	}
	nodes := logtest.NewNodes(t, 3, func() *server.Options {
		options, err := server.ProcessConfigFile("../deploy/nats/ledger.conf")
		if err != nil {
			t.Fatal(err)
		}
		if !options.SyncAlways || options.Cluster.Password == "" || len(options.Routes) != 3 {
			t.Fatal("the configuration lacks syncing, a password between servers, or routes")
		}
		// Routes are made up for the test, so they have no password in them.
		options.Cluster.Username, options.Cluster.Password = "", ""
		return options
	})
	return func(user string) string {
		var urls []string
		for _, n := range nodes {
			urls = append(urls, fmt.Sprintf("nats://%s:secret-of-%s_PASSWORD@%s", user, strings.ToUpper(user), n.Addr()))
		}
		return strings.Join(urls, ",")
	}
}

func TestDeployedPermissions(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	urls := startDeployed(t)
	connect := func(user string) *nats.Conn {
		nc, err := eventstore.Connect(urls(user), "", logtest.Logger(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	admin := connect("admin")
	if err := eventstore.Create(ctx, admin, 3); err != nil {
		t.Fatal(err)
	}
	app := connect("claimledger")
	log, err := eventstore.Open(ctx, app, 3, logtest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	head := mayAppendAndRead(t, ctx, log)
	mayUseBuckets(t, ctx, log)
	mayPublishHeads(t, ctx, log)
	mayKeepSnapshots(t, ctx, log, admin)
	mayNotDestroy(t, ctx, app, eventstore.StreamName, head.Position)
	mayNotDestroy(t, ctx, app, eventstore.HeadsStreamName, 1)
	mayNotHaveDestroyed(t, ctx, admin, app)
}

func mayAppendAndRead(t *testing.T, ctx context.Context, log *eventstore.Stream) eventstore.Head {
	t.Helper()
	const many = 30 // so that reading takes a consumer
	var head eventstore.Head
	b := domain.ClaimsOf(logtest.Namespace())
	for range many {
		rec, err := log.Append(ctx, head, logtest.Commit(b))
		if err != nil {
			t.Fatal(err)
		}
		head = rec.Head()
	}
	for name, read := range map[string]func(func(eventstore.Record) error) error{
		"read":     func(f func(eventstore.Record) error) error { return log.Read(ctx, b, 0, f) },
		"read all": func(f func(eventstore.Record) error) error { return log.ReadAll(ctx, domain.KindClaims, 0, f) },
		"follow":   func(f func(eventstore.Record) error) error { return log.Follow(ctx, 0, f, nil) },
	} {
		count, done := 0, errors.New("done")
		err := read(func(eventstore.Record) error {
			if count++; count == many {
				return done
			}
			return nil
		})
		if !errors.Is(err, done) {
			t.Errorf("%s: %v after %d", name, err, count)
		}
	}
	return head
}

func mayUseBuckets(t *testing.T, ctx context.Context, log *eventstore.Stream) {
	t.Helper()
	profiles, usage := log.Profiles(), log.Usage()
	if err := profiles.Put(ctx, "own_1", eventstore.Profile{Email: "a@example.com"}); err != nil {
		t.Error(err)
	}
	if p, found, err := profiles.Get(ctx, "own_1"); err != nil || !found || p.Email != "a@example.com" {
		t.Errorf("profile: %v, %v, %v", p, found, err)
	}
	if err := profiles.Delete(ctx, "own_1"); err != nil {
		t.Error(err)
	}
	if err := usage.Touch(ctx, map[string]time.Time{"key_1": time.Unix(1, 0)}); err != nil {
		t.Error(err)
	}
	if all, err := usage.All(ctx); err != nil || len(all) != 1 {
		t.Errorf("usage: %v, %v", all, err)
	}
}

func mayPublishHeads(t *testing.T, ctx context.Context, log *eventstore.Stream) {
	t.Helper()
	heads := log.Heads()
	head, err := heads.Append(ctx, eventstore.StoredHead{}, logtest.Head(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	if last, err := heads.Last(ctx); err != nil || last.Sequence != head.Sequence {
		t.Errorf("the last head: %+v, %v", last, err)
	}
}

// mayKeepSnapshots keeps one in the place of another, which goes.
func mayKeepSnapshots(t *testing.T, ctx context.Context, log *eventstore.Stream, admin *nats.Conn) {
	t.Helper()
	var kept []byte
	for range 3 {
		kept = append(kept, make([]byte, 1<<20)...)
		if err := log.Snapshots().Save(ctx, "acme.claims", kept); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := log.Snapshots().Load(ctx, "acme.claims"); err != nil || len(got) != len(kept) {
		t.Errorf("the snapshot: %d bytes, %v", len(got), err)
	}
	js, err := jetstream.New(admin)
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := js.Stream(ctx, "OBJ_snapshots")
	if err != nil {
		t.Fatal(err)
	}
	if held := bucket.CachedInfo().State.Bytes; held > 4<<20 {
		t.Errorf("the bucket holds %d bytes", held)
	}
}

// mayNotDestroy tries everything that takes away from a stream of the record, or makes
// room for it: the server must not even answer.
func mayNotDestroy(t *testing.T, ctx context.Context, app *nats.Conn, name string, message uint64) {
	t.Helper()
	js, err := jetstream.New(app)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	before := stream.CachedInfo()
	for name, try := range map[string]func(context.Context) error{
		"update": func(ctx context.Context) error {
			cfg := before.Config
			cfg.MaxMsgs = 1
			_, err := js.UpdateStream(ctx, cfg)
			return err
		},
		"delete":                  func(ctx context.Context) error { return js.DeleteStream(ctx, name) },
		"purge":                   func(ctx context.Context) error { return stream.Purge(ctx) },
		"delete a message":        func(ctx context.Context) error { return stream.DeleteMsg(ctx, message) },
		"erase a message":         func(ctx context.Context) error { return stream.SecureDeleteMsg(ctx, message) },
		"delete a bucket":         func(ctx context.Context) error { return js.DeleteKeyValue(ctx, "owners") },
		"create a stream":         func(ctx context.Context) error { return create(ctx, js, "OTHER", "other") },
		"create one on a subject": func(ctx context.Context) error { return create(ctx, js, "OTHER", "ledger.more.>") },
		"append elsewhere":        func(ctx context.Context) error { _, err := js.Publish(ctx, "ledger.acme.other", nil); return err },
	} {
		ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		if err := try(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want no answer", name, err)
		}
		cancel()
	}
	after, err := stream.Info(ctx)
	if err != nil || after.State.LastSeq != before.State.LastSeq || after.State.Msgs != before.State.Msgs {
		t.Errorf("the stream is %+v, %v; was %+v", after.State, err, before.State)
	}
}

// mayNotHaveDestroyed tries to have the server itself send the request that deletes
// the stream, as what a consumer delivers. The administrator's subscription shows
// that it was sent.
func mayNotHaveDestroyed(t *testing.T, ctx context.Context, admin, app *nats.Conn) {
	t.Helper()
	const request = "$JS.API.STREAM.DELETE." + eventstore.StreamName
	sent, err := admin.SubscribeSync(request)
	if err == nil {
		err = admin.FlushWithContext(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(app)
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreatePushConsumer(ctx, eventstore.StreamName, jetstream.ConsumerConfig{
		DeliverSubject: request, HeadersOnly: true, AckPolicy: jetstream.AckNonePolicy,
	})
	if err != nil {
		return
	}
	if _, err := sent.NextMsgWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	// The server answers requests about a stream one after another.
	if _, err := js.Stream(ctx, eventstore.StreamName); err != nil {
		t.Errorf("the stream after a consumer asked to delete it: %v", err)
	}
}

func create(ctx context.Context, js jetstream.JetStream, name, subject string) error {
	_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{subject}})
	return err
}
