package eventstore

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// How a connection behaves.
const (
	connectionName = "claimledger"
	dialTimeout    = 5 * time.Second
	reconnectWait  = 200 * time.Millisecond
	reconnectNoise = 100 * time.Millisecond
	// A server that answers no ping for pingInterval times maxPings is given up;
	// until then requests to it time out.
	pingInterval = 3 * time.Second
	maxPings     = 2
	// writeTimeout bounds a write to the connection. While one is stuck, nothing else
	// can be asked over it either, whatever time the caller has.
	writeTimeout = 2 * time.Second
)

// The oldest server that has all that the log relies on.
const minMajor, minMinor = 2, 12

// ServerVersionError means that the server is too old.
type ServerVersionError struct{ Version string }

func (e *ServerVersionError) Error() string {
	return fmt.Sprintf("the NATS server has version %s; the ledger needs %d.%d or newer", e.Version, minMajor, minMinor)
}

// Connect connects to servers that the operator runs: one URL or several, comma
// between them. Once connected, it reconnects by itself for as long as it takes. No
// error of it shows a password.
func Connect(urls, credsFile string, logger *slog.Logger) (*nats.Conn, error) {
	options := connectionOptions(logger)
	if credsFile != "" {
		options = append(options, nats.UserCredentials(credsFile))
	}
	nc, err := nats.Connect(urls, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %s", redact(urls), withoutSecrets(err))
	}
	if v := nc.ConnectedServerVersion(); !supported(v) {
		nc.Close()
		return nil, &ServerVersionError{v}
	}
	return nc, nil
}

func connectionOptions(logger *slog.Logger) []nats.Option {
	return []nats.Option{
		nats.Name(connectionName),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectNoise, reconnectNoise),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
		nats.FlusherTimeout(writeTimeout),
		// A commit that is sent while there is no connection fails, instead of going
		// out with the next one, after its caller was told that it failed.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				logger.Warn("lost the connection to NATS", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			logger.Info("connected to NATS again", "server", nc.ConnectedServerName())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if !errors.Is(err, nats.ErrSlowConsumer) {
				logger.Warn("NATS reported an error", "error", err)
			}
		}),
	}
}

var versionPattern = regexp.MustCompile(`^v?(\d+)\.(\d+)\.`)

func supported(version string) bool {
	m := versionPattern.FindStringSubmatch(version)
	if m == nil {
		return false
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major > minMajor || major == minMajor && minor >= minMinor
}

// redact leaves of each URL only what can't be a secret: nothing before the last @,
// and nothing of what isn't a URL.
func redact(urls string) string {
	var shown []string
	for one := range strings.SplitSeq(urls, ",") {
		one = strings.TrimSpace(one)
		at := strings.LastIndex(one, "@")
		u, err := url.Parse(one)
		switch {
		case at >= 0:
			shown = append(shown, "…"+one[at:])
		case err == nil && u.Host != "":
			shown = append(shown, one)
		default:
			shown = append(shown, "(not a URL)")
		}
	}
	return strings.Join(shown, ",")
}

// withoutSecrets is the error's text, unless it quotes the URL.
func withoutSecrets(err error) string {
	var parse *url.Error
	if errors.As(err, &parse) {
		return "not a valid URL"
	}
	return err.Error()
}
