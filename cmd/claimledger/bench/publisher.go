package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// publishTimeout bounds one publish of the yardstick.
const publishTimeout = 10 * time.Second

// publishing is one time that the raw publisher is asked for.
type publishing struct {
	Payload    []byte        `json:"payload"`
	Subjects   int           `json:"subjects"`
	Goroutines int           `json:"goroutines"`
	Duration   time.Duration `json:"duration"`
	Rate       float64       `json:"rate"` // 0: as fast as acknowledgements come
}

// published is its answer.
type published struct {
	Outcome Outcome `json:"outcome"`
	Error   string  `json:"error"`
}

// publisher is the yardstick of all that writes: JetStream by itself, in a process of
// its own as the ledger is. The server, its settings, the stream and the connection are
// the ledger's own; each message is one publish, whose acknowledgement is awaited.
type publisher struct{ *process }

func startPublisher(ctx context.Context, c Config) (*publisher, error) {
	p, err := startProcess("raw publisher", filepath.Join(c.Dir, "publisher.log"),
		append(c.Program.Publisher, filepath.Join(c.Dir, "publisher")))
	if err != nil {
		return nil, err
	}
	return &publisher{p}, nil
}

// publish asks for one time.
func (p *publisher) publish(ctx context.Context, ask publishing) (Outcome, error) {
	var answer published
	if err := p.ask(ctx, ask, &answer); err != nil {
		return Outcome{}, err
	}
	if answer.Error != "" {
		return Outcome{}, fmt.Errorf("the raw publisher: %s", answer.Error)
	}
	return answer.Outcome, nil
}

// Publish is the raw publisher's process: it keeps a store in a directory and publishes
// as it is asked to, until in ends.
func Publish(ctx context.Context, dir string, in io.Reader, out io.Writer, logger *slog.Logger) (err error) {
	server, err := eventstore.StartEmbedded(eventstore.EmbeddedConfig{Dir: dir, Logger: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	nc, err := server.Connect()
	if err != nil {
		return err
	}
	if err := eventstore.Create(ctx, nc, 1); err != nil {
		return err
	}
	return Serve(in, out, func(ask publishing) (published, error) {
		o, err := ask.run(ctx, nc)
		if err != nil {
			return published{Error: err.Error()}, nil
		}
		return published{Outcome: o}, nil
	})
}

func (ask publishing) run(ctx context.Context, nc *nats.Conn) (Outcome, error) {
	subjects := make([]string, ask.Subjects)
	for i := range subjects {
		subjects[i] = eventstore.Subject(domain.ClaimsOf(namespaceName(i)))
	}
	op := func(_, i int) error { return publish(ctx, nc, subjects[i%len(subjects)], ask.Payload) }
	if ask.Rate > 0 {
		return openLoop(ctx, ask.Goroutines, int(ask.Rate*ask.Duration.Seconds()), ask.Rate, op)
	}
	return closedLoop(ctx, ask.Goroutines, unbounded, ask.Duration, op)
}

// publish is the leanest durable publish there is: no expectation, no message id, no
// waiting for anything but the acknowledgement.
func publish(ctx context.Context, nc *nats.Conn, subject string, payload []byte) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	answer, err := nc.RequestWithContext(ctx, subject, payload)
	if err != nil {
		return err
	}
	var ack struct {
		Error *struct{ Description string } `json:"error"`
		Seq   uint64                        `json:"seq"`
	}
	switch err := json.Unmarshal(answer.Data, &ack); {
	case err != nil:
		return err
	case ack.Error != nil:
		return errors.New(ack.Error.Description)
	case ack.Seq == 0:
		return fmt.Errorf("not an acknowledgement: %s", answer.Data)
	}
	return nil
}
