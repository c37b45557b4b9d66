package httpsig

import (
	"strings"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/claimledger/claimledger/domain"
)

// input is what signature-input says.
type input struct {
	text    string // the inner list with its parameters, byte for byte as received
	created time.Time
	keyID   string
	nonce   string
}

// parseInput reads signature-input, which has to cover exactly the given components,
// and checks the times in it.
func parseInput(header string, covered []component, now time.Time) (*input, error) {
	text, list, err := parseInnerList(header)
	if err != nil {
		return nil, err
	}
	if err := checkComponents(list.Items, covered); err != nil {
		return nil, err
	}
	// Components without parameters leave only those of the list, and a name that
	// stands there twice would be seen with its last value alone.
	if countOutsideStrings(text, ';') != len(list.Params.Names()) {
		return nil, invalid("signature-input has a parameter twice")
	}
	in := &input{text: text}
	if err := in.readParams(list.Params); err != nil {
		return nil, err
	}
	return in, checkTimes(in.created, list.Params, now)
}

// parseInnerList takes the one member of the dictionary. What follows the label is
// parsed as a list, not as a dictionary, because a dictionary silently keeps the last
// of two members with one label (RFC 9651, section 4.2.2), and the text of the member
// is needed as it was sent.
func parseInnerList(header string) (string, httpsfv.InnerList, error) {
	text, ok := strings.CutPrefix(header, label+"=")
	if ok && strings.HasPrefix(text, "(") {
		members, err := httpsfv.UnmarshalList([]string{text})
		if err == nil && len(members) == 1 {
			return text, members[0].(httpsfv.InnerList), nil
		}
	}
	return "", httpsfv.InnerList{}, invalid("signature-input is not exactly one list of components, labelled %s", label)
}

func checkComponents(items []httpsfv.Item, covered []component) error {
	ok := len(items) == len(covered)
	for i := 0; ok && i < len(items); i++ {
		// A parameter (sf, bs, key, req, tr) makes it another component (RFC 9421, section 2).
		ok = items[i].Value == covered[i].name && len(items[i].Params.Names()) == 0
	}
	if ok {
		return nil
	}
	names := make([]string, len(covered))
	for i, c := range covered {
		names[i] = `"` + c.name + `"`
	}
	return domain.Errorf(domain.CodeSignatureComponentsInvalid,
		"the signature of this request must cover exactly (%s), in this order", strings.Join(names, " "))
}

// readParams takes the parameters of RFC 9421, section 2.3. Those that the profile
// does not have are refused: a limit that the signer set and nobody here understands
// must not be ignored, and a tag says that the signature is meant for something else.
func (in *input) readParams(params *httpsfv.Params) error {
	var created int64
	var alg string
	for _, name := range params.Names() {
		value, _ := params.Get(name)
		var ok bool
		switch name {
		case "created":
			created, ok = value.(int64)
		case "expires":
			_, ok = value.(int64)
		case "keyid":
			in.keyID, ok = value.(string)
		case "alg":
			alg, ok = value.(string)
		case "nonce":
			in.nonce, ok = value.(string)
		default:
			return invalid("signature-input has a parameter other than created, expires, keyid, alg and nonce")
		}
		if !ok {
			return invalid("the parameter %s has a value of the wrong type", name)
		}
	}
	switch {
	case created <= 0:
		return invalid("the parameter created is missing or not a time")
	case in.keyID == "":
		return invalid("the parameter keyid is missing")
	case alg != algorithm:
		return invalid("the parameter alg is missing or not %q", algorithm)
	case in.nonce == "" || len(in.nonce) > MaxNonceLength:
		return invalid("the parameter nonce is missing or longer than %d characters", MaxNonceLength)
	}
	in.created = time.Unix(created, 0).UTC()
	return nil
}

// checkTimes counts in whole seconds, the unit of the parameters: a signature that its
// maker dates exactly MaxAge back passes whatever the fraction of the second is.
func checkTimes(created time.Time, params *httpsfv.Params, now time.Time) error {
	age := now.Truncate(time.Second).Sub(created)
	if age > MaxAge {
		return domain.Errorf(domain.CodeSignatureExpired, "the signature is more than %d s old", int(MaxAge.Seconds()))
	}
	if age < -MaxAhead {
		return domain.Errorf(domain.CodeSignatureExpired, "the signature was made more than %d s in the future",
			int(MaxAhead.Seconds()))
	}
	if expires, ok := params.Get("expires"); ok && now.Unix() > expires.(int64) {
		return domain.Errorf(domain.CodeSignatureExpired, "the signature has expired")
	}
	return nil
}

// countOutsideStrings counts b where it is not part of a quoted string. The text is a
// well-formed structured field.
func countOutsideStrings(text string, b byte) int {
	count, quoted, escapes := 0, false, false
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && escapes && text[i] == '\\':
			i++ // the escaped character ends nothing
		case text[i] == '"':
			quoted = !quoted
			// A display string, %"…", has no backslash escapes (RFC 9651, section 3.3.8).
			escapes = i == 0 || text[i-1] != '%'
		case text[i] == b && !quoted:
			count++
		}
	}
	return count
}
