package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"strings"
	"sync"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// Signer signs with the same secrets again and again, and has worked out what depends on
// them alone. It is safe for concurrent use.
type Signer struct {
	body     mac   // keyed with the text of the current secret
	standard []mac // with the bytes of each
}

// NewSigner makes a signer for the secrets, the current one first; ErrNoSecret where there
// is none.
func NewSigner(secrets []string) (*Signer, error) {
	if len(secrets) == 0 {
		return nil, ErrNoSecret
	}
	s := &Signer{body: newMAC([]byte(secrets[0])), standard: make([]mac, len(secrets))}
	for i, secret := range secrets {
		key, err := domain.WebhookSecretKey(secret)
		if err != nil {
			return nil, err
		}
		s.standard[i] = newMAC(key)
	}
	return s, nil
}

// Body is the value of HeaderBody, see [Body].
func (s *Signer) Body(body []byte) string { return bodyText(s.body.sum("", body)) }

// Standard is the value of HeaderSignature, see [Standard].
func (s *Signer) Standard(id string, at time.Time, body []byte) string {
	signed := standardPrefix(id, Timestamp(at))
	var text strings.Builder
	for i, m := range s.standard {
		if i > 0 {
			text.WriteByte(' ')
		}
		text.WriteString(standardText(m.sum(signed, body)))
	}
	return text.String()
}

func bodyText(sum []byte) string     { return bodyScheme + hex.EncodeToString(sum) }
func standardText(sum []byte) string { return standardScheme + base64.StdEncoding.EncodeToString(sum) }

// standardPrefix is what is signed before the body.
func standardPrefix(id, timestamp string) string { return id + "." + timestamp + "." }

// mac is an HMAC-SHA256 with one key. Those that were used are used again.
type mac struct{ free *sync.Pool }

func newMAC(key []byte) mac {
	return mac{&sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

func (m mac) sum(prefix string, body []byte) []byte {
	h := m.free.Get().(hash.Hash)
	defer m.free.Put(h)
	h.Reset()
	h.Write([]byte(prefix))
	h.Write(body)
	return h.Sum(nil)
}
