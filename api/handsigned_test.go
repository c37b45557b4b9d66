package api_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/api/httpsig"
)

// byHand signs from the text of the profile, without the program's own signer, and
// wrong in any way that a test likes.
type byHand struct {
	agent      *agent
	components string            // what is covered; empty: what the profile wants
	params     func(p *params)   // changes the parameters
	order      string            // of the parameters; empty: as in the profile
	values     map[string]string // what is signed for a component, instead of the truth
	label      string
}

type params struct {
	created int64
	keyid   string
	alg     string
	nonce   string
	more    string
}

func (h byHand) sign(t *testing.T, s *sending) {
	t.Helper()
	a := h.agent
	s.Header.Set("sigilum-namespace", a.Namespace)
	s.Header.Set("sigilum-subject", a.Subject)
	s.Header.Set("sigilum-agent-key", a.public)
	s.Header.Set("sigilum-agent-cert", a.Certificate)
	names := `"@method" "@target-uri" `
	if len(s.body) > 0 {
		sum := sha256.Sum256(s.body)
		s.Header.Set("content-digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
		names += `"content-digest" `
	}
	names += `"sigilum-namespace" "sigilum-subject" "sigilum-agent-key" "sigilum-agent-cert"`
	if h.components != "" {
		names = h.components
	}
	input := "(" + names + ")" + h.parameters()
	var base strings.Builder
	for name := range strings.FieldsSeq(names) {
		fmt.Fprintf(&base, "%s: %s\n", name, h.value(s, strings.Trim(strings.Split(name, ";")[0], `"`)))
	}
	fmt.Fprintf(&base, `"@signature-params": %s`, input)
	sig := ed25519.Sign(a.Key, []byte(base.String()))
	label := h.label
	if label == "" {
		label = "sig1"
	}
	s.Header.Set("signature-input", label+"="+input)
	s.Header.Set("signature", label+"=:"+base64.StdEncoding.EncodeToString(sig)+":")
}

func (h byHand) value(s *sending, name string) string {
	if v, ok := h.values[name]; ok {
		return v
	}
	switch name {
	case "@method":
		return strings.ToLower(s.Method)
	case "@target-uri":
		return s.public + s.target
	case "@authority":
		return s.Host
	case "@path":
		return s.URL.Path
	}
	return s.Header.Get(name)
}

func (h byHand) parameters() string {
	p := params{
		created: h.agent.Now().Unix(), alg: `"ed25519"`, nonce: `"` + rand.Text() + `"`,
		keyid: `"` + httpsig.KeyID(h.agent.Namespace, h.agent.Key.Public().(ed25519.PublicKey)) + `"`,
	}
	if h.params != nil {
		h.params(&p)
	}
	order := h.order
	if order == "" {
		order = "created keyid alg nonce"
	}
	var text string
	for name := range strings.FieldsSeq(order) {
		switch name {
		case "created":
			text += fmt.Sprintf(";created=%d", p.created)
		case "keyid":
			text += ";keyid=" + p.keyid
		case "alg":
			text += ";alg=" + p.alg
		case "nonce":
			text += ";nonce=" + p.nonce
		}
	}
	return text + p.more
}

// signed makes it an option.
func (h byHand) signed() option { return func(t *testing.T, s *sending) { t.Helper(); h.sign(t, s) } }
