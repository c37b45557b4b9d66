package webhookrelay

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Channels on which the assigner tells the relays of other processes what is new. A
// message that is lost is made up for by their polling.
const (
	channelDeliveries = "webhookrelay_deliveries"
	channelTasks      = "webhookrelay_tasks"
)

// listener wakes this process for what another one assigned. Its connection is also what the
// other relays see of this one.
type listener struct {
	pool       *pgxpool.Pool
	presence   *presence
	logger     *slog.Logger
	deliveries func()
	tasks      func()
	own        func() uint32 // who tells this process itself as well
}

func (l *listener) run(ctx context.Context) {
	pause := retryLeast
	for ctx.Err() == nil {
		began := time.Now()
		err := l.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > retryMost {
			pause = retryLeast
		}
		l.logger.Debug("listening for webhook deliveries ended", "err", err)
		sleep(ctx, pause)
		pause = min(2*pause, returnMost)
	}
}

func (l *listener) listen(ctx context.Context) error {
	pooled, err := l.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	conn := pooled.Hijack() // it listens for as long as the process lives
	defer func() {
		// When the process stops, this comes after all attempts have ended.
		ctx, cancel := context.WithTimeout(context.Background(), closePatience/4)
		defer cancel()
		conn.Close(ctx)
	}()
	defer l.presence.leave()
	if err := l.presence.arrive(ctx, conn); err != nil {
		return err
	}
	for _, channel := range []string{channelDeliveries, channelTasks} {
		if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
			return err
		}
	}
	// What was said before is not repeated.
	l.deliveries()
	l.tasks()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		if n.PID == l.own() {
			continue
		}
		if n.Channel == channelTasks {
			l.tasks()
		} else {
			l.deliveries()
		}
	}
}
