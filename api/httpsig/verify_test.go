package httpsig

import (
	"crypto/ed25519"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// verifyCase changes a request that passes, before or after it is signed.
type verifyCase struct {
	name   string
	before func(*draft)
	after  func(*http.Request)
	code   domain.Code // empty: verifies
}

func runVerifyCases(t *testing.T, cases []verifyCase) {
	t.Helper()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			d := newDraft()
			if tc.before != nil {
				tc.before(d)
			}
			r := d.sign()
			if tc.after != nil {
				tc.after(r)
			}
			signed, err := newTestVerifier(t, 0).Verify(r, []byte(d.body), testNow)
			requireCode(t, err, tc.code)
			if (signed != nil) != (tc.code == "") {
				t.Fatalf("got %+v with the error %v", signed, err)
			}
		})
	}
}

func withoutHeader(name string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Del(name) }
}

func withHeader(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func TestVerifyMissing(t *testing.T) {
	var cases []verifyCase
	for _, name := range []string{
		"signature-input", "signature", "content-digest",
		"sigilum-namespace", "sigilum-subject", "sigilum-agent-key", "sigilum-agent-cert",
	} {
		cases = append(cases,
			verifyCase{name: "no " + name, after: withoutHeader(name), code: domain.CodeSignatureMissing},
			verifyCase{name: "blank " + name, after: withHeader(name, " \t"), code: domain.CodeSignatureMissing},
		)
	}
	cases = append(cases, verifyCase{
		name: "missing is answered before anything wrong",
		after: func(r *http.Request) {
			r.Header.Add("signature-input", "sig1=()")
			r.Header.Del("sigilum-agent-cert")
		},
		code: domain.CodeSignatureMissing,
	})
	runVerifyCases(t, cases)
}

func TestVerifyComponents(t *testing.T) {
	const code = domain.CodeSignatureComponentsInvalid
	runVerifyCases(t, []verifyCase{
		{name: "the profile's set"},
		{name: "with an agent id", before: func(d *draft) { d.agent("agent-001") }},
		{name: "without a body", before: (*draft).noBody},
		{name: "agent id sent and not covered", before: func(d *draft) { d.headers["sigilum-agent-id"] = "a" }, code: code},
		{
			name: "agent id covered and not sent", before: func(d *draft) { d.agent("a") },
			after: withoutHeader("sigilum-agent-id"), code: code,
		},
		{
			name: "digest not covered", code: code,
			before: func(d *draft) { d.components = append(d.components[:2:2], d.components[3:]...) },
		},
		{
			name: "digest covered without a body", code: code,
			before: func(d *draft) { d.body, d.headers["content-digest"] = "", testDigest("") },
		},
		{
			name: "another order", code: code,
			before: func(d *draft) { d.components[0], d.components[1] = d.components[1], d.components[0] },
		},
		{name: "one more", before: func(d *draft) { d.components = append(d.components, "date") }, code: code},
		{name: "one twice", before: func(d *draft) { d.components = append(d.components, "@method") }, code: code},
		{name: "none", before: func(d *draft) { d.components, d.list = nil, "()" }, code: code},
		{
			name: "a component with a parameter", code: code,
			before: func(d *draft) { d.list = strings.Replace(listOf(d), `"content-digest"`, `"content-digest";sf`, 1) },
		},
		{
			name: "a component of the request that caused this one", code: code,
			before: func(d *draft) { d.list = strings.Replace(listOf(d), `"@method"`, `"@method";req`, 1) },
		},
		{
			name: "a component that is a token", code: code,
			before: func(d *draft) { d.list = strings.Replace(listOf(d), `"content-digest"`, `content-digest`, 1) },
		},
		{
			name: "a component in upper case", code: code,
			before: func(d *draft) { d.list = strings.Replace(listOf(d), "content-digest", "Content-Digest", 1) },
		},
	})
}

func listOf(d *draft) string { return `("` + strings.Join(d.components, `" "`) + `")` }

func TestVerifyTimes(t *testing.T) {
	created := func(offset int64) func(*draft) {
		return func(d *draft) { d.setParams(testNow.Unix()+offset, vectorKeyID) }
	}
	runVerifyCases(t, []verifyCase{
		{name: "300 s old", before: created(-300)},
		{name: "301 s old", before: created(-301), code: domain.CodeSignatureExpired},
		{name: "5 s ahead", before: created(5)},
		{name: "6 s ahead", before: created(6), code: domain.CodeSignatureExpired},
		{name: "the largest time", before: created(999_999_999_999_999 - testNow.Unix()), code: domain.CodeSignatureExpired},
		{name: "expires now", before: func(d *draft) { d.params += ";expires=1750000000" }},
		{name: "expired", before: func(d *draft) { d.params += ";expires=1749999999" }, code: domain.CodeSignatureExpired},
		{name: "expired in no time", before: func(d *draft) { d.params += `;expires="never"` }, code: domain.CodeSignatureInvalid},
	})
}

func TestVerifyDigest(t *testing.T) {
	const code = domain.CodeSignatureDigestMismatch
	digest := func(value string) func(*draft) {
		return func(d *draft) { d.headers["content-digest"] = value }
	}
	good := testDigest(newDraft().body)
	runVerifyCases(t, []verifyCase{
		{name: "with another algorithm", before: digest("sha-512=:AAAA:, " + good)},
		{name: "of another body", before: digest(testDigest("{}")), code: code},
		{name: "the body was changed", before: func(d *draft) { d.body += " " }, code: code},
		{name: "another algorithm alone", before: digest("sha-512=:AAAA:"), code: code},
		{name: "not a byte sequence", before: digest("sha-256=abc"), code: code},
		{name: "a list of byte sequences", before: digest("sha-256=(:AAAA:)"), code: code},
		{name: "not a dictionary", before: digest("sha-256=:!:"), code: code},
		{
			name: "uncovered and true, without a body",
			before: func(d *draft) {
				d.noBody()
				d.headers["content-digest"] = testDigest("")
			},
		},
		{
			name: "uncovered and false, without a body", code: code,
			before: func(d *draft) {
				d.noBody()
				d.headers["content-digest"] = testDigest("lost")
			},
		},
	})
}

func TestVerifyMethodAndTarget(t *testing.T) {
	const code = domain.CodeSignatureInvalid
	target := func(onWire, inBase string) func(*draft) {
		return func(d *draft) { d.target, d.baseTarget = onWire, inBase }
	}
	runVerifyCases(t, []verifyCase{
		{name: "method in lower case"},
		{name: "method as it stands", before: func(d *draft) { d.baseMethod = "POST" }},
		{name: "method in mixed case", before: func(d *draft) { d.baseMethod = "Post" }, code: code},
		{name: "another method", before: func(d *draft) { d.baseMethod = "get" }, code: code},
		{name: "escapes and query as sent", before: target("/v1/a%2fb%2F?q=%20+", testPublicURL+"/v1/a%2fb%2F?q=%20+")},
		{name: "escapes in another case", before: target("/a%2fb", testPublicURL+"/a%2Fb"), code: code},
		{name: "empty query", before: target("/a?", testPublicURL+"/a?")},
		{name: "another query", before: target("/a?x=1", testPublicURL+"/a?x=2"), code: code},
		{name: "another host", before: target("/a", "https://evil.example/a"), code: code},
		{name: "a URL in the query", before: target("/a?u=http://b/c", testPublicURL+"/a?u=http://b/c")},
		{name: "absolute form", before: target("https://ledger.example/a?x=1", testPublicURL+"/a?x=1")},
		{name: "absolute form, other authority", before: target("http://10.0.0.1:8787/a", testPublicURL+"/a")},
		{name: "absolute form, authority signed", before: target("http://10.0.0.1/a", "http://10.0.0.1/a"), code: code},
		{name: "absolute form, no path", before: target("https://ledger.example?x", testPublicURL+"/?x")},
		{name: "absolute form, nothing", before: target("https://ledger.example", testPublicURL+"/")},
		{name: "asterisk form", before: target("*", testPublicURL+"*"), code: code},
		{name: "authority form", before: target("a:443", testPublicURL+"a:443"), code: code},
		{name: "a fragment", before: target("/a#b", testPublicURL+"/a#b"), code: code},
		{name: "not ASCII", before: target("/é", testPublicURL+"/é"), code: code},
	})
}

func TestVerifyHeaderValues(t *testing.T) {
	const code = domain.CodeSignatureInvalid
	namespace := func(name string) func(*draft) {
		return func(d *draft) { d.identity(newTestCertificate(name, d.key), d.key) }
	}
	subject := func(value string) func(*draft) {
		return func(d *draft) { d.headers["sigilum-subject"] = value }
	}
	cases := []verifyCase{
		{name: "shortest namespace", before: namespace("a-1")},
		{name: "longest namespace", before: namespace(strings.Repeat("a", 64))},
		{name: "upper case namespace", before: namespace("Acme")},
		{name: "namespace too short", before: namespace("ab"), code: code},
		{name: "namespace too long", before: namespace(strings.Repeat("a", 65)), code: code},
		{name: "namespace begins with a hyphen", before: namespace("-ab"), code: code},
		{name: "namespace ends with a hyphen", before: namespace("ab-"), code: code},
		{name: "namespace with a dot", before: namespace("a.b"), code: code},
		{name: "namespace with a letter of another alphabet", before: namespace("aéb"), code: code},
		{name: "longest subject", before: subject(strings.Repeat("s", 256))},
		{name: "subject too long", before: subject(strings.Repeat("s", 257)), code: code},
		{name: "subject with a comma", before: subject("Lovelace, Ada")},
		{name: "subject not ASCII", before: subject("Zoë"), code: code},
		{name: "subject with a tab", before: subject("a\tb"), code: code},
		{name: "white space around is not signed", after: withHeader("sigilum-subject", "\t ada@example.com ")},
		{name: "longest agent id", before: func(d *draft) { d.agent(strings.Repeat("a", 128)) }},
		{name: "agent id too long", before: func(d *draft) { d.agent(strings.Repeat("a", 129)) }, code: code},
		{name: "blank agent id", before: func(d *draft) { d.agent("") }, code: code},
		{name: "changed subject", after: withHeader("sigilum-subject", "eve@example.com"), code: code},
		{name: "input too long", after: withHeader("signature-input", "sig1=("+strings.Repeat(" ", maxInputLength)+")"), code: code},
	}
	for _, rule := range allRules {
		cases = append(cases, verifyCase{
			name:   rule.name + " twice",
			before: func(d *draft) { d.agent("agent-001") },
			after:  func(r *http.Request) { r.Header.Add(rule.name, r.Header.Get(rule.name)) },
			code:   code,
		})
	}
	runVerifyCases(t, cases)
}

func TestVerifyParameters(t *testing.T) {
	const code = domain.CodeSignatureInvalid
	params := func(text string) func(*draft) {
		return func(d *draft) { d.params = strings.ReplaceAll(text, "KEYID", vectorKeyID) }
	}
	runVerifyCases(t, []verifyCase{
		{name: "another order", before: params(`;nonce="n";keyid="KEYID";created=1750000000;alg="ed25519"`)},
		{name: "spaces as received", before: params(`; created=1750000000;  keyid="KEYID";alg="ed25519";nonce="n"`)},
		{name: "a nonce with quotes and semicolons", before: params(`;created=1750000000;keyid="KEYID";alg="ed25519";nonce="\"a;\\;"`)},
		{name: "longest nonce", before: params(`;created=1750000000;keyid="KEYID";alg="ed25519";nonce="` + strings.Repeat("n", 256) + `"`)},
		{name: "nonce too long", before: params(`;created=1750000000;keyid="KEYID";alg="ed25519";nonce="` + strings.Repeat("n", 257) + `"`), code: code},
		{name: "empty nonce", before: params(`;created=1750000000;keyid="KEYID";alg="ed25519";nonce=""`), code: code},
		{name: "no nonce", before: params(`;created=1750000000;keyid="KEYID";alg="ed25519"`), code: code},
		{name: "nonce is a token", before: params(`;created=1750000000;keyid="KEYID";alg="ed25519";nonce=n`), code: code},
		{name: "no created", before: params(`;keyid="KEYID";alg="ed25519";nonce="n"`), code: code},
		{name: "created is a string", before: params(`;created="1750000000";keyid="KEYID";alg="ed25519";nonce="n"`), code: code},
		{name: "created is a decimal", before: params(`;created=1750000000.0;keyid="KEYID";alg="ed25519";nonce="n"`), code: code},
		{name: "created is zero", before: params(`;created=0;keyid="KEYID";alg="ed25519";nonce="n"`), code: code},
		{name: "no keyid", before: params(`;created=1750000000;alg="ed25519";nonce="n"`), code: code},
		{name: "another keyid", before: params(`;created=1750000000;keyid="agent-key-1";alg="ed25519";nonce="n"`), code: code},
		{name: "no alg", before: params(`;created=1750000000;keyid="KEYID";nonce="n"`), code: code},
		{name: "another alg", before: params(`;created=1750000000;keyid="KEYID";alg="hmac-sha256";nonce="n"`), code: code},
		{name: "alg in upper case", before: params(`;created=1750000000;keyid="KEYID";alg="Ed25519";nonce="n"`), code: code},
		{name: "a tag", before: params(`;created=1750000000;keyid="KEYID";alg="ed25519";nonce="n";tag="app"`), code: code},
		{name: "an unknown parameter", before: params(`;created=1750000000;keyid="KEYID";alg="ed25519";nonce="n";x=1`), code: code},
		{name: "a parameter twice", before: params(`;created=1;created=1750000000;keyid="KEYID";alg="ed25519";nonce="n"`), code: code},
		{name: "a parameter twice behind a display string", before: params(`;nonce=%"\";created=1750000000;keyid="KEYID";alg="ed25519";nonce="n"`), code: code},
		{name: "not a structured field", before: params(`;created=1750000000;keyid="KEYID`), code: code},
	})
}

func TestVerifyLabels(t *testing.T) {
	const code = domain.CodeSignatureInvalid
	edit := func(name string, change func(string) string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, change(r.Header.Get(name))) }
	}
	appendCopy := func(label string) func(string) string {
		return func(s string) string { return s + ", " + label + strings.TrimPrefix(s, "sig1") }
	}
	relabel := func(s string) string { return strings.Replace(s, "sig1", "sig2", 1) }
	runVerifyCases(t, []verifyCase{
		{name: "a second input", after: edit("signature-input", appendCopy("sig2")), code: code},
		{name: "the input twice", after: edit("signature-input", appendCopy("sig1")), code: code},
		{name: "another label first", after: edit("signature-input", func(s string) string { return "sig2=()," + s }), code: code},
		{name: "a second signature", after: edit("signature", appendCopy("sig2")), code: code},
		{name: "the signature twice", after: edit("signature", appendCopy("sig1")), code: code},
		{name: "another label", after: func(r *http.Request) {
			edit("signature-input", relabel)(r)
			edit("signature", relabel)(r)
		}, code: code},
		{name: "labels that differ", after: edit("signature", relabel), code: code},
		{name: "an item for a list", after: withHeader("signature-input", `sig1="@method";created=1`), code: code},
		{name: "a space before the list", after: edit("signature-input", func(s string) string { return strings.Replace(s, "=(", "= (", 1) }), code: code},
		{name: "a comma at the end", after: edit("signature-input", func(s string) string { return s + "," }), code: code},
		{name: "a signature with a parameter", after: edit("signature", func(s string) string { return s + ";a" }), code: code},
		{name: "a signature without padding", after: edit("signature", func(s string) string { return strings.Replace(s, "==:", ":", 1) }), code: code},
		{name: "a short signature", after: withHeader("signature", "sig1=:AAAA:"), code: code},
		{name: "an empty signature", after: withHeader("signature", "sig1=::"), code: code},
		{name: "the signature of another key", before: func(d *draft) { d.key = testKey(9) }, code: code},
		{name: "another key in the header", before: func(d *draft) {
			d.headers["sigilum-agent-key"] = FormatKey(testKey(9).Public().(ed25519.PublicKey))
		}, code: code},
		{name: "another namespace in the header", before: func(d *draft) { d.headers["sigilum-namespace"] = "other" }, code: code},
		{name: "the namespace in another case", before: func(d *draft) { d.headers["sigilum-namespace"] = "Acme-Corp" }, code: code},
	})
}

func TestFreshUntil(t *testing.T) {
	d := newDraft()
	signed, err := newTestVerifier(t, 0).Verify(d.sign(), []byte(d.body), testNow)
	requireCode(t, err, "")
	for moment, code := range map[time.Time]domain.Code{
		signed.FreshUntil.Add(-time.Nanosecond): "",
		signed.FreshUntil:                       domain.CodeSignatureExpired,
	} {
		_, err := newTestVerifier(t, 0).Verify(d.sign(), []byte(d.body), moment)
		requireCode(t, err, code)
	}
}

func TestNewVerifierPublicURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://ledger.example":          "https://ledger.example",
		"https://ledger.example/":         "https://ledger.example",
		"HTTPS://Ledger.Example:443":      "https://ledger.example",
		"http://127.0.0.1:80":             "http://127.0.0.1",
		"http://127.0.0.1:8787":           "http://127.0.0.1:8787",
		"https://ledger.example:80":       "https://ledger.example:80",
		"https://[::1]:443/a%2Fb/":        "https://[::1]/a%2Fb",
		"":                                "",
		"ledger.example":                  "",
		"ftp://ledger.example":            "",
		"https://":                        "",
		"https://user:pw@ledger.example":  "",
		"https://ledger.example?x=1":      "",
		"https://ledger.example/#section": "",
		"https://ledger example":          "",
	} {
		v, err := NewVerifier(in, 0)
		if want == "" {
			if err == nil {
				t.Errorf("%q was accepted", in)
			}
			continue
		}
		if err != nil || v.publicURL != want {
			t.Errorf("%q: got %+v, %v; want %q", in, v, err, want)
		}
	}
}
