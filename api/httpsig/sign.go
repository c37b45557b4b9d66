package httpsig

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// Signer signs the requests of one agent. It may be used by any number of goroutines
// at once when Now and Nonce may.
type Signer struct {
	Namespace   string
	Subject     string
	AgentID     string // empty: no sigilum-agent-id
	Key         ed25519.PrivateKey
	Certificate string // for this namespace and key, as Certificate.Encode writes it

	Now   func() time.Time // nil: the system's clock
	Nonce func() string    // nil: 128 random bits or more

	// LowerCaseMethod signs the method in lower case, for servers that know nothing
	// else. Without it the method stands as RFC 9421, section 2.2.1, has it.
	LowerCaseMethod bool
}

// Sign sets the headers that sign r, a request about to be sent with this body. What
// was there under the same names is replaced. The URL, the host and the method must
// not change afterwards.
func (s *Signer) Sign(r *http.Request, body []byte) error {
	if len(s.Key) != ed25519.PrivateKeySize {
		return errors.New("sign: the key is not an Ed25519 private key")
	}
	targetURI, err := sentTargetURI(r)
	if err != nil {
		return err
	}
	f := s.fields(body)
	covered := f.covered(s.method(r), targetURI)
	if err := errors.Join(f.check(), checkPrintable(covered)); err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	params, err := s.params(covered)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	sig := ed25519.Sign(s.Key, signatureBase(covered, params))
	f.input = label + "=" + params
	f.signature = label + "=:" + base64.StdEncoding.EncodeToString(sig) + ":"
	f.set(r)
	return nil
}

func (s *Signer) publicKey() ed25519.PublicKey { return s.Key.Public().(ed25519.PublicKey) }

func (s *Signer) fields(body []byte) *fields {
	f := &fields{
		namespace:  s.Namespace,
		subject:    s.Subject,
		agentID:    s.AgentID,
		hasAgentID: s.AgentID != "",
		agentKey:   FormatKey(s.publicKey()),
		agentCert:  s.Certificate,
		hasBody:    len(body) > 0,
	}
	if f.hasBody {
		f.digest = contentDigest(body)
	}
	return f
}

func (s *Signer) method(r *http.Request) string {
	method := r.Method
	if method == "" {
		method = http.MethodGet // as net/http sends it
	}
	if s.LowerCaseMethod {
		method = strings.ToLower(method)
	}
	return method
}

// params writes the inner list of components with its parameters (RFC 9421, section 2.3).
func (s *Signer) params(covered []component) (string, error) {
	now, nonce := time.Now, rand.Text
	if s.Now != nil {
		now = s.Now
	}
	if s.Nonce != nil {
		nonce = s.Nonce
	}
	list := httpsfv.InnerList{Params: httpsfv.NewParams()}
	for _, c := range covered {
		list.Items = append(list.Items, httpsfv.NewItem(c.name))
	}
	list.Params.Add("created", now().Unix())
	list.Params.Add("keyid", KeyID(s.Namespace, s.publicKey()))
	list.Params.Add("alg", algorithm)
	list.Params.Add("nonce", nonce())
	return httpsfv.Marshal(httpsfv.List{list})
}

// set writes every header of the profile, and removes those that this request is not
// to have: a stale one would be read as part of the signature.
func (f *fields) set(r *http.Request) {
	if r.Header == nil {
		r.Header = http.Header{}
	}
	for _, rule := range allRules {
		if value := *rule.value(f); value != "" {
			r.Header[rule.header] = []string{value}
		} else {
			delete(r.Header, rule.header)
		}
	}
}
