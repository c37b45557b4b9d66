package httpsig

import (
	"net/http"
	"strings"

	"github.com/claimledger/claimledger/domain"
)

// Bounds on header values, checked before anything is parsed or any signature is
// verified, so that a refusal stays cheap however much was sent.
const (
	maxInputLength       = 2048 // the components take 150, each parameter at most 256 and some
	maxSignatureLength   = 128  // 64 bytes in base64, with the label
	maxDigestLength      = 1024 // several algorithms beside sha-256
	maxNamespaceLength   = 64
	maxSubjectLength     = 256
	maxAgentIDLength     = 128
	maxAgentKeyLength    = 64   // 52 is the one that passes
	maxCertificateLength = 4096 // a certificate takes 600 to 900
)

const minNamespaceLength = 3

// fields are the header values that take part in a signature, without the white space
// around them (RFC 9421, section 2.1).
type fields struct {
	input, signature                                 string
	digest                                           string // covered exactly when hasBody
	namespace, subject, agentID, agentKey, agentCert string
	hasBody, hasAgentID                              bool
}

// fieldRule is how one header is read, and where it goes.
type fieldRule struct {
	name      string // lower case, as signatures name it
	header    string // the key in http.Header
	maxLength int
	need      need
	value     func(*fields) *string
}

type need int

const (
	always need = iota
	withBody
	optional
)

func rule(name string, maxLength int, need need, value func(*fields) *string) fieldRule {
	return fieldRule{name, http.CanonicalHeaderKey(name), maxLength, need, value}
}

var (
	inputRule     = rule("signature-input", maxInputLength, always, func(f *fields) *string { return &f.input })
	signatureRule = rule("signature", maxSignatureLength, always, func(f *fields) *string { return &f.signature })
	digestRule    = rule("content-digest", maxDigestLength, withBody, func(f *fields) *string { return &f.digest })
	namespaceRule = rule("sigilum-namespace", maxNamespaceLength, always, func(f *fields) *string { return &f.namespace })
	subjectRule   = rule("sigilum-subject", maxSubjectLength, always, func(f *fields) *string { return &f.subject })
	agentIDRule   = rule("sigilum-agent-id", maxAgentIDLength, optional, func(f *fields) *string { return &f.agentID })
	agentKeyRule  = rule("sigilum-agent-key", maxAgentKeyLength, always, func(f *fields) *string { return &f.agentKey })
	agentCertRule = rule("sigilum-agent-cert", maxCertificateLength, always, func(f *fields) *string { return &f.agentCert })
)

// coveredRules are the headers among the covered components, in the profile's order.
var coveredRules = []fieldRule{digestRule, namespaceRule, subjectRule, agentIDRule, agentKeyRule, agentCertRule}

var allRules = append([]fieldRule{inputRule, signatureRule}, coveredRules...)

// readFields takes the headers of a request. What is missing is answered first: only
// a complete set can be judged.
func readFields(h http.Header, hasBody bool) (*fields, error) {
	f := &fields{hasBody: hasBody, hasAgentID: len(h[agentIDRule.header]) > 0}
	for _, rule := range allRules {
		value := rule.value(f)
		if lines := h[rule.header]; len(lines) > 0 {
			*value = strings.Trim(lines[0], " \t")
		}
		if *value == "" && (rule.need == always || rule.need == withBody && hasBody) {
			return nil, domain.Errorf(domain.CodeSignatureMissing, "the header %s is missing", rule.name)
		}
	}
	for _, rule := range allRules {
		// RFC 9421 would join the lines with a comma. Here each header holds one value,
		// and whoever reads only the first line must not see another one than was signed.
		if len(h[rule.header]) > 1 {
			return nil, invalid("the header %s appears more than once", rule.name)
		}
		if len(*rule.value(f)) > rule.maxLength {
			return nil, invalid("the header %s is longer than %d bytes", rule.name, rule.maxLength)
		}
	}
	return f, nil
}

// check holds the values that a caller may choose to the rules of the API.
func (f *fields) check() error {
	switch {
	case !validNamespace(f.namespace):
		return invalid("sigilum-namespace is not 3 to 64 letters, digits and hyphens with a letter or digit at both ends")
	case !validText(f.subject, maxSubjectLength):
		return invalid("sigilum-subject is not 1 to %d printable ASCII characters", maxSubjectLength)
	case f.hasAgentID && !validText(f.agentID, maxAgentIDLength):
		return invalid("sigilum-agent-id is not 1 to %d printable ASCII characters", maxAgentIDLength)
	}
	return nil
}

func validNamespace(name string) bool {
	if len(name) < minNamespaceLength || len(name) > maxNamespaceLength {
		return false
	}
	for i := range len(name) {
		inner := i > 0 && i < len(name)-1
		if !alphanumeric(name[i]) && (name[i] != '-' || !inner) {
			return false
		}
	}
	return true
}

func alphanumeric(b byte) bool {
	return '0' <= b && b <= '9' || 'A' <= b && b <= 'Z' || 'a' <= b && b <= 'z'
}

// validText refuses spaces at the ends because HTTP drops them on the way.
func validText(s string, maxLength int) bool {
	return s != "" && len(s) <= maxLength && printable(s) && strings.Trim(s, " ") == s
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
