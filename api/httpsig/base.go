package httpsig

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// component is one covered component: its name and the value that is signed.
type component struct{ name, value string }

const (
	methodComponent    = "@method"
	targetURIComponent = "@target-uri"
	paramsComponent    = "@signature-params"
)

// methodIndex is where the profile's order has the method.
const methodIndex = 0

// covered lists what a request with these fields has to cover, in the profile's order.
func (f *fields) covered(method, targetURI string) []component {
	list := make([]component, 0, 2+len(coveredRules))
	list = append(list, component{methodComponent, method}, component{targetURIComponent, targetURI})
	for _, rule := range coveredRules {
		if rule.need == withBody && !f.hasBody || rule.need == optional && !f.hasAgentID {
			continue
		}
		list = append(list, component{rule.name, *rule.value(f)})
	}
	return list
}

// signatureBase builds what is signed (RFC 9421, section 2.5). params is the text of
// the inner list and its parameters, as it stands in signature-input.
func signatureBase(covered []component, params string) []byte {
	size := len(paramsComponent) + len(`"": `) + len(params)
	for _, c := range covered {
		size += len(c.name) + len(`"": `) + len(c.value) + len("\n")
	}
	base := make([]byte, 0, size)
	for _, c := range covered {
		base = appendLine(base, c.name, c.value)
		base = append(base, '\n')
	}
	return appendLine(base, paramsComponent, params)
}

func appendLine(base []byte, name, value string) []byte {
	base = append(base, '"')
	base = append(base, name...)
	base = append(base, `": `...)
	return append(base, value...)
}

// checkPrintable refuses what must not be in a signature base: it is an ASCII string
// (RFC 9421, section 2.5), and a line break in a value would start a line of its own.
func checkPrintable(covered []component) error {
	for _, c := range covered {
		if !printable(c.value) {
			return invalid("the component %s holds characters other than printable ASCII", c.name)
		}
	}
	return nil
}

// parsePublicURL normalises the scheme, the host and the port as clients do before
// they sign, and drops slashes at the end: a request target brings its own.
func parsePublicURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		// The cause quotes the text, and what is quoted of it may be a password.
		return "", errors.New("the public URL cannot be read: it must look like https://ledger.example.com")
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", fmt.Errorf("public URL %q: not an absolute http or https URL", u.Redacted())
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("public URL %q: user, query and fragment have no place in it", u.Redacted())
	}
	return origin(u.Scheme, u.Host) + strings.TrimRight(u.EscapedPath(), "/"), nil
}

// origin leaves the default port out, as every URL library does.
func origin(scheme, host string) string {
	defaultPort := map[string]string{"http": ":80", "https": ":443"}[scheme]
	return scheme + "://" + strings.TrimSuffix(strings.ToLower(host), defaultPort)
}

// receivedTargetURI is the full URI that the client called (RFC 9421, section 2.2.2):
// the server's public URL, and the request target byte for byte, because escapes in
// a path or a query must not be read and written again.
func receivedTargetURI(publicURL, requestTarget string) (string, error) {
	target := requestTarget
	// Absolute form (RFC 9112, section 3.2.2): the authority is the client's word for
	// where it is, and the configured one replaces it.
	if scheme, rest, ok := strings.Cut(target, "://"); ok && !strings.ContainsAny(scheme, "/?") {
		target = "/"
		if at := strings.IndexAny(rest, "/?"); at >= 0 {
			target = rest[at:]
		}
		if target[0] == '?' {
			target = "/" + target
		}
	}
	if !strings.HasPrefix(target, "/") || strings.Contains(target, "#") {
		return "", invalid("the request target is not a path with an optional query")
	}
	return publicURL + target, nil
}

// sentTargetURI is the URI that a client is about to call, without its fragment.
func sentTargetURI(r *http.Request) (string, error) {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	target := r.URL.RequestURI()
	if host == "" || (r.URL.Scheme != "http" && r.URL.Scheme != "https") || !strings.HasPrefix(target, "/") {
		return "", fmt.Errorf("sign: %q is not an absolute http or https URL", r.URL.Redacted())
	}
	return origin(r.URL.Scheme, host) + target, nil
}
