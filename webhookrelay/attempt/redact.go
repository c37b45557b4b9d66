package attempt

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// redacted stands where an answer repeated a secret.
const redacted = "[redacted]"

// leastSecret is the length from which on a secret is looked for in an answer: what is
// shorter is in too much by accident.
const leastSecret = 6

// redact takes out of an answer what the receiver repeats of what it was sent: many show
// the headers of a request that they refuse, and answers are kept and shown to whoever may
// read deliveries, while secrets are shown once.
func (r Request) redact(answer []byte) []byte {
	if len(answer) < leastSecret {
		return answer // as most are: what is looked for costs more than all else to prepare
	}
	var secrets []string
	for _, text := range append(slices.Clone(r.Secrets), r.AuthValue) {
		secrets = append(secrets, text)
		if scheme, credential, ok := strings.Cut(text, " "); ok && len(scheme) < len(credential) {
			secrets = append(secrets, credential) // of Bearer or Basic
			if decoded, err := base64.StdEncoding.DecodeString(credential); err == nil {
				secrets = append(secrets, string(decoded))
				_, password, _ := strings.Cut(string(decoded), ":")
				secrets = append(secrets, password)
			}
		}
		secrets = append(secrets, strings.TrimPrefix(text, "whsec_"))
	}
	var forms []string
	for _, text := range secrets {
		if len(text) < leastSecret {
			continue
		}
		quoted, err := json.Marshal(text)
		if err == nil {
			forms = append(forms, string(quoted[1:len(quoted)-1]))
		}
		forms = append(forms, text, url.QueryEscape(text), url.PathEscape(text), hex.EncodeToString([]byte(text)),
			base64.StdEncoding.EncodeToString([]byte(text)), base64.RawURLEncoding.EncodeToString([]byte(text)))
	}
	// The longest first, so that nothing is left of one that holds another.
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	for _, form := range slices.Compact(forms) {
		answer = bytes.ReplaceAll(answer, []byte(form), []byte(redacted))
	}
	return answer
}
