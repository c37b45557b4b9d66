package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// How messages are fetched from the server.
const (
	// fetchAhead is how many messages the server may send before they are asked
	// for, and fetchAheadBytes bounds those of one request, where messages are large. The
	// next request is made when half of them are left: enough that a reader does not wait
	// for a round trip, even where the processors are busy and one takes a while.
	fetchAhead      = 2048
	fetchAheadBytes = 16 * MaxMessageSize
	// keptReady is how many of them wait where the reader takes them. The others wait in
	// the connection.
	keptReady = 512
	// pullExpiry is how long the server keeps a request for more messages, and
	// pullHeartbeat how often it shows meanwhile that it still has it; two missing
	// ones mean that it is gone. It is the shortest that the library takes.
	pullExpiry    = 30 * time.Second
	pullHeartbeat = 500 * time.Millisecond
	// consumerIdle is when the server removes a consumer that nobody reads.
	consumerIdle = 10 * time.Second
)

// message is one stored message as a consumer delivers it.
type message struct {
	subject  string
	position uint64
	data     []byte
}

// cursor reads the messages of a subject after a position, in order, without a gap
// and without a repeat. When its consumer or the connection is lost, it goes on
// behind the last message that it gave.
type cursor struct {
	s       *Stream
	subject string
	after   uint64

	feed  *feed // nil when there is no consumer
	pause backoff
	lost  error // what ended the last feed, until the reader is at the log's end again
}

// errNothingYet means that no message came in time.
var errNothingYet = errors.New("nothing yet")

// next waits for the next message until the channel fires or ctx ends. Trouble with
// the server is no error, but a reason to go on waiting; it is kept in lost.
func (c *cursor) next(ctx context.Context, until <-chan time.Time) (message, error) {
	for {
		if c.feed == nil && !c.open(ctx) {
			select {
			case <-ctx.Done():
				return message{}, ctx.Err()
			case <-until:
				return message{}, errNothingYet
			default:
				continue
			}
		}
		select {
		case <-ctx.Done():
			return message{}, ctx.Err()
		case <-until:
			return message{}, errNothingYet
		case m := <-c.feed.messages:
			if m.position <= c.after {
				continue
			}
			c.after = m.position
			c.pause.reset()
			return m, nil
		case err := <-c.feed.ended:
			c.drop(err)
		}
	}
}

// open makes a new consumer behind the last message; after a failure it pauses.
func (c *cursor) open(ctx context.Context) bool {
	feed, err := openFeed(ctx, c.s, c.subject, c.after)
	if err != nil {
		c.drop(err)
		c.pause.wait(ctx)
		return false
	}
	c.feed = feed
	return true
}

func (c *cursor) drop(err error) {
	if c.lost == nil {
		c.s.logger.Warn("reading the ledger was interrupted", "after", c.after, "error", err)
	}
	c.lost = err
	c.close()
}

// recovered is called when the reader is at the log's end again.
func (c *cursor) recovered() {
	if c.lost != nil {
		c.s.logger.Info("reading the ledger goes on", "after", c.after)
		c.lost = nil
	}
}

// more reports whether the next message is here already.
func (c *cursor) more() bool { return c.feed != nil && len(c.feed.messages) > 0 }

func (c *cursor) close() {
	if c.feed != nil {
		c.feed.close()
		c.feed = nil
	}
}

// feed is a consumer on the server with a subscription here.
type feed struct {
	s        *Stream
	name     string
	consume  jetstream.ConsumeContext
	messages chan message
	ended    chan error    // receives once what ended it
	closed   chan struct{} // releases the subscription's goroutine
	expected uint64        // the consumer's own count, which shows a lost delivery
}

// openFeed makes an ephemeral consumer. It needs no acknowledgements, no disk and
// no replicas: where to go on is known here, and a lost one is simply replaced.
func openFeed(ctx context.Context, s *Stream, subject string, after uint64) (*feed, error) {
	var consumer jetstream.Consumer
	err := s.link.attempt(ctx, func(ctx context.Context) (err error) {
		consumer, err = s.js.CreateConsumer(ctx, StreamName, jetstream.ConsumerConfig{
			DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
			OptStartSeq:       after + 1,
			FilterSubject:     subject,
			AckPolicy:         jetstream.AckNonePolicy,
			ReplayPolicy:      jetstream.ReplayInstantPolicy,
			InactiveThreshold: consumerIdle,
			MemoryStorage:     true,
			Replicas:          1,
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	f := &feed{
		s: s, name: consumer.CachedInfo().Name, expected: 1,
		messages: make(chan message, keptReady), ended: make(chan error, 1), closed: make(chan struct{}),
	}
	f.consume, err = consumer.Consume(f.take,
		jetstream.PullMaxMessagesWithBytesLimit(fetchAhead, fetchAheadBytes), jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { f.end(err) }))
	return f, err
}

// take runs on the subscription's goroutine. A delivery that was lost on the way
// ends the feed, as no one would send it again.
func (f *feed) take(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err == nil && meta.Sequence.Consumer != f.expected {
		err = fmt.Errorf("delivery %d came instead of %d", meta.Sequence.Consumer, f.expected)
	}
	if err != nil {
		f.end(err)
		return
	}
	f.expected++
	select {
	case f.messages <- message{m.Subject(), meta.Sequence.Stream, m.Data()}:
	case <-f.closed:
	}
}

// end keeps the first reason. What arrived in order before stays readable.
func (f *feed) end(err error) {
	select {
	case f.ended <- err:
	default:
	}
}

// close stops the feed and lets the server forget the consumer at once instead of
// after consumerIdle; that may fail, so nobody waits for it.
func (f *feed) close() {
	close(f.closed)
	f.consume.Stop()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout)
		defer cancel()
		_ = f.s.js.DeleteConsumer(ctx, StreamName, f.name)
	}()
}
