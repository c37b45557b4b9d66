package client

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claimledger/claimledger/api/httpsig"
)

const (
	defaultAttempts = 4
	// defaultTimeout is more than the ledger takes to answer with the outcome or with why
	// it does not know it.
	defaultTimeout = 15 * time.Second
	// idleConnections is how many connections to the ledger are kept for the next request.
	idleConnections = 64
	// maxCertificates bounds those that are kept for other namespaces than the signer's.
	maxCertificates = 10_000

	defaultUserAgent = "claimledger-client"
)

// Config is what a Client shows, and how it goes about it. URL alone is required.
type Config struct {
	// URL is the ledger's public URL, which is part of every signature. Where the ledger
	// is reached in another way, let HTTP dial there.
	URL string

	// Signer signs what has to be signed. A request about another namespace than its own,
	// which verify is for a service with many customers, is signed under a certificate that
	// is made with its key: certificates prove the possession of a key and nothing else.
	Signer *httpsig.Signer
	// ServiceKey is sk_live_…: what submits claims and follows the feed.
	ServiceKey string
	// ManagementKey is sigma_sk_live_…, and goes before Session.
	ManagementKey string
	// Session is the token of an owner's session.
	Session string

	// ReadYourWrites has every read wait for the client's own last command.
	ReadYourWrites bool

	// Attempts is how often a request is sent at most; 0: 4.
	Attempts int
	// Timeout bounds one attempt; 0: 15 s. What an operation is to wait for by itself comes
	// on top.
	Timeout time.Duration
	// HTTP sends the requests; nil: a client with connections of its own. Redirects are not
	// followed. A timeout here would end streams as well; use Timeout.
	HTTP *http.Client
	// UserAgent goes before the client's own name.
	UserAgent string
}

// Client calls one ledger. It is safe for concurrent use, and shows no credential when it
// is printed.
type Client struct {
	config  Config
	base    string // without a slash at its end
	http    *http.Client
	signers *signers
	last    *atomic.Uint64 // the position of the last command, for all with this connection

	// wait is a timer that a context ends; tests have a faster one.
	wait func(context.Context, time.Duration) error
}

// New makes a Client. Nothing is sent.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return nil, errors.New("client: URL must be the ledger's, https://host or http://host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("client: URL must have no user, query or fragment")
	case c.Attempts < 0 || c.Timeout < 0:
		return nil, errors.New("client: Attempts and Timeout must not be negative")
	}
	for name, secret := range map[string]string{"ServiceKey": c.ServiceKey, "ManagementKey": c.ManagementKey, "Session": c.Session} {
		if strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, fmt.Errorf("client: %s has characters that no key has", name)
		}
	}
	c.Attempts, c.Timeout = cmp.Or(c.Attempts, defaultAttempts), cmp.Or(c.Timeout, defaultTimeout)
	c.UserAgent = strings.TrimSpace(c.UserAgent + " " + defaultUserAgent)
	var sender http.Client
	if c.HTTP != nil {
		sender = *c.HTTP
	} else {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConnsPerHost = idleConnections
		sender.Transport = transport
	}
	// A redirected request would show its credentials elsewhere, under a signature that is
	// not for there.
	sender.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client := &Client{
		config: c, base: strings.TrimSuffix(u.String(), "/"), http: &sender, wait: sleep,
		signers: &signers{others: map[string]*httpsig.Signer{}}, last: new(atomic.Uint64),
	}
	if c.Signer != nil {
		if client.signers.own, err = complete(c.Signer); err != nil {
			return nil, err
		}
	}
	return client, nil
}

// String names the ledger.
func (c *Client) String() string { return "client of " + c.base }

// GoString does the same, or %#v would show credentials.
func (c *Client) GoString() string { return c.String() }

// WithSession is the same client in an owner's session, as Login answers it.
func (c *Client) WithSession(token string) *Client {
	other := *c
	other.config.Session, other.config.ManagementKey = token, ""
	return &other
}

// NewSigner makes a signer for an agent or a gateway, with a certificate for the namespace
// that does not expire.
func NewSigner(namespace, subject string, key ed25519.PrivateKey) (*httpsig.Signer, error) {
	return complete(&httpsig.Signer{Namespace: namespace, Subject: subject, Key: key})
}

// complete checks a signer, and makes the certificate that it may lack.
func complete(s *httpsig.Signer) (*httpsig.Signer, error) {
	if len(s.Key) != ed25519.PrivateKeySize {
		return nil, errors.New("client: the signer's key is not an Ed25519 private key")
	}
	if s.Certificate != "" {
		return s, nil
	}
	return certified(s, s.Namespace), nil
}

// certified is the signer for a namespace.
func certified(s *httpsig.Signer, namespace string) *httpsig.Signer {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	other := *s
	other.Namespace = namespace
	other.Certificate = httpsig.NewCertificate(namespace, s.Key, now(), nil).Encode()
	return &other
}

// signers sign for one namespace each, all with one key.
type signers struct {
	own *httpsig.Signer // nil: there is none

	mu     sync.Mutex
	others map[string]*httpsig.Signer
}

// of is the signer for a namespace; empty: its own.
func (s *signers) of(namespace string) *httpsig.Signer {
	if namespace == "" || namespace == s.own.Namespace {
		return s.own
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if signer := s.others[namespace]; signer != nil {
		return signer
	}
	if len(s.others) >= maxCertificates {
		clear(s.others)
	}
	signer := certified(s.own, namespace)
	s.others[namespace] = signer
	return signer
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
