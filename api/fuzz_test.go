package api_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/api/openapi"
)

// The targets here call the API as it is served. Inputs have names in them ($claimId) for
// what differs from run to run, and the seeds begin with what the description of the API
// lists, so that what is added to it is tried without being added here.

// FuzzSignatureHeaders: without the key, whatever the headers say is refused. With it,
// what they say is refused or meant, in every part.
func FuzzSignatureHeaders(f *testing.F) {
	a := newArena(f)
	body := `{"namespace":"$namespace","public_key":"$agentKey","service":"$slug","agent_ip":"203.0.113.45","nonce":"nonce-1234"}`
	add := func(method, target, body string, change func(map[string]string)) {
		h := map[string]string{"input": "sig1=" + profile(body != "") + parameters, "namespace": "$namespace", "subject": "tester@example.com", "key": "$agentKey", "cert": "$cert"}
		if body != "" {
			h["digest"] = "$digest"
		}
		change(h)
		for _, resign := range []bool{true, false} {
			f.Add(method, target, h["input"], h["signature"], h["digest"], h["namespace"], h["subject"], h["id"], h["key"], h["cert"], []byte(body), resign)
		}
	}
	for _, e := range signedEndpoints() {
		if e.Method == http.MethodPost {
			add(e.Method, e.target(), body, func(map[string]string) {})
			continue
		}
		add(e.Method, e.target()+"?namespace=$namespace&public_key=$escapedKey&service=$slug&since=1", "", func(map[string]string) {})
	}
	const target = "/v1/namespaces/$namespace"
	for _, parameters := range []string{
		"", ";created=1", `;nonce="$nonce";alg="ed25519";keyid="$keyid";created=$now`, parameters + ";expires=1", parameters + `;tag="x"`, parameters + ";created=1", parameters + "=?0",
		strings.Replace(parameters, "$now", "9223372036854775807", 1), strings.Replace(parameters, "$nonce", `\"\\`, 1), strings.Replace(parameters, "ed25519", "hmac-sha256", 1),
	} {
		add("GET", target, "", func(h map[string]string) { h["input"] = "sig1=" + profile(false) + parameters })
	}
	for _, change := range []func(map[string]string){
		func(h map[string]string) { h["input"] = "sig2" + h["input"][4:] },
		func(h map[string]string) { h["input"] += ", sig2" + h["input"][4:] },
		func(h map[string]string) { h["input"] = "sig1=()" + parameters },
		func(h map[string]string) { h["input"] = strings.Replace(h["input"], ` "sigilum-subject"`, "", 1) },
		func(h map[string]string) {
			h["id"], h["input"] = "agent-1", strings.Replace(h["input"], `"sigilum-agent-key"`, `"sigilum-agent-id" "sigilum-agent-key"`, 1)
		},
		func(h map[string]string) {
			h["input"] = strings.Replace(h["input"], `"@target-uri"`, `"@target-uri";req`, 1)
		},
		func(h map[string]string) { h["signature"] = "sig1=:" + strings.Repeat("A", 86) + "==:" },
		func(h map[string]string) { h["signature"] = "sig1=:AA==:, sig1=:BB==:;x=y" },
		func(h map[string]string) { h["digest"] = "sha-256=(:AAAA:), sha-512=?1" },
		func(h map[string]string) { h["namespace"] = "acme, acme" },
		func(h map[string]string) { h["cert"] = "e30" },
		func(h map[string]string) { h["key"] = "ed25519:" },
		func(h map[string]string) { h["subject"] = "é" },
	} {
		add("GET", target, "", change)
	}
	f.Fuzz(func(t *testing.T, method, target, input, signature, digest, namespace, subject, id, key, cert string, body []byte, resign bool) {
		e := a.ready(t)
		names := signatureNames(e, []byte(e.names.Replace(string(body))))
		rep := a.send(t, exchange{
			method: method, target: target, body: body,
			headers: []string{
				"Signature-Input", names.Replace(input), "Signature", signature, "Content-Digest", names.Replace(digest), "Sigilum-Namespace", namespace, "Sigilum-Subject", subject,
				"Sigilum-Agent-Id", id, "Sigilum-Agent-Key", key, "Sigilum-Agent-Cert", names.Replace(cert), "Authorization", "Bearer " + e.serviceKey,
			},
			sign: func(r *http.Request, e *estate) {
				if resign {
					signAs(r, e, a.node.public)
				}
			},
		})
		if rep == nil || rep.status >= http.StatusBadRequest || !needsSignature(method, rep.what) {
			return
		}
		if !resign {
			t.Fatalf("%s: %d without a signature", rep.what, rep.status)
		}
		covered, _, _ := strings.Cut(strings.TrimSpace(input), ")")
		for name := range strings.FieldsSeq(strings.Trim(profile(len(body) > 0), "()")) {
			if !strings.Contains(covered, name) {
				t.Fatalf("%s: %d, and the signature does not cover %s: %s", rep.what, rep.status, name, input)
			}
		}
	})
}

// FuzzCertificate: a certificate is the one that its key's holder made, or it is refused.
func FuzzCertificate(f *testing.F) {
	a := newArena(f)
	const good = `{"version":1,"namespace":"$namespace","did":"did:sigilum:$namespace","keyId":"$keyid","publicKey":"$agentKey",` +
		`"issuedAt":"2026-01-01T00:00:00Z","expiresAt":null,"proof":{"alg":"ed25519","sig":"$sig"}}`
	f.Add(good, false)
	for _, change := range [][2]string{
		{"null", `"2099-12-31T23:59:59.999Z"`}, {"null", `"2020-01-01T00:00:00Z"`}, {"null", `""`}, {"null", `"soon"`}, {`"version":1`, `"version":1.0`}, {`"version":1`, `"version":2`},
		{"$keyid", "did:sigilum:$namespace#ed25519-0000000000000000"}, {"$agentKey", "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}, {"$agentKey", "rsa:AAAA"},
		{"did:sigilum:$namespace", "did:web:$namespace"}, {`"proof"`, `"proof":null,"proof"`}, {"$sig", "$sig="}, {"$sig", ""}, {`{"version"`, `[{"version"`}, {"2026-01-01T00:00:00Z", `\n`},
		{`"version"`, `"VERSION"`}, {"{", `{"more":{},`}, {`"alg":"ed25519"`, `"alg":"none"`},
	} {
		f.Add(strings.Replace(good, change[0], change[1], 1), false)
	}
	f.Add("e30", true)
	f.Add("$cert", true)
	f.Add("$cert=", true)
	f.Add("", true)
	f.Fuzz(func(t *testing.T, text string, raw bool) {
		e := a.ready(t)
		names := signatureNames(e, nil)
		text = names.Replace(e.names.Replace(text))
		if !raw {
			text = base64.RawURLEncoding.EncodeToString([]byte(strings.ReplaceAll(text, "$sig", proof(e, text))))
		}
		x := exchange{method: "GET", target: "/v1/verify?namespace=$namespace&public_key=$escapedKey&service=$slug", sign: func(r *http.Request, e *estate) {
			a.signed(nil)(r, e)
			r.Header.Set("Sigilum-Agent-Cert", text)
			signAs(r, e, a.node.public)
		}}
		if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return // no header
		}
		if rep := a.send(t, x); rep != nil && rep.status != http.StatusOK && rep.status != http.StatusUnauthorized {
			t.Fatalf("%d for a certificate", rep.status)
		}
	})
}

// proof signs what a certificate says, as far as it can be read.
func proof(e *estate, text string) string {
	var c struct{ Namespace, DID, KeyID, PublicKey, IssuedAt, ExpiresAt string }
	_ = json.Unmarshal([]byte(text), &c) // what cannot be read is signed as if it were not there
	lines := []string{
		"sigilum-certificate-v1", "namespace:" + c.Namespace, "did:" + c.DID, "key-id:" + c.KeyID, "public-key:" + c.PublicKey,
		"issued-at:" + c.IssuedAt, "expires-at:" + c.ExpiresAt,
	}
	return base64.RawURLEncoding.EncodeToString(ed25519.Sign(e.agent.Key, []byte(strings.Join(lines, "\n"))))
}

// FuzzQuery: a query is understood or refused, whoever asks and in whatever form.
func FuzzQuery(f *testing.F) {
	a := newArena(f)
	for _, op := range operations(f) {
		if op.method != http.MethodGet {
			continue
		}
		all := url.Values{}
		f.Add("HEAD", op.target, "", byte(0), "", "", "", "")
		f.Add("GET", op.target, "", byte(1), "application/x-ndjson", "", `W/"x", *`, "1")
		for _, p := range op.Parameters {
			if p.Value.In != openapi3.ParameterInQuery {
				continue
			}
			value := example(p.Value)
			all.Set(p.Value.Name, value)
			f.Add("GET", op.target, p.Value.Name+"="+value, byte(0), "", "", "", "")
		}
		query, _ := url.QueryUnescape(all.Encode()) // names keep their $
		f.Add("GET", op.target, query, byte(0), "application/json, text/event-stream;q=0.1", "", "", "")
		f.Add("GET", op.target, query+"&"+query, byte(0), "", "", "", "")
	}
	for _, query := range []string{
		"limit=0&offset=-1", "limit=999999999999999999999", "offset=9223372036854775807", "limit=%31", "limit=1;offset=2", "%zz", "namespace=$namespace&namespace=$namespace",
		"since=0&wait=1", "as_of=2026-01-01T00:00:00Z", "as_of=1", "status=approved&status=pending", "cursor=AQ", "from=1&to=2",
	} {
		f.Add("GET", "/v1/namespaces/$namespace/claims", query, byte(0), "", "", "", "")
		f.Add("GET", "/v1/namespaces/$namespace/events", query, byte(0), "application/x-ndjson", "", "", "")
		f.Add("GET", "/v1/namespaces/claims", query, byte(0), "", "", `"x"`, "")
		f.Add("GET", "/v1/namespaces/claims/changes", query, byte(0), "text/event-stream", "1", "", "")
	}
	f.Fuzz(func(t *testing.T, method, target, query string, kind byte, accept, lastEvent, etag, position string) {
		if method != http.MethodHead {
			method = http.MethodGet
		}
		a.send(t, exchange{
			method: method, target: target + "?" + query, sign: a.caller(kind, nil),
			headers: []string{"Accept", accept, "Last-Event-ID", lastEvent, "If-None-Match", etag, "Ledger-Min-Position", position},
		})
	})
}

// FuzzCursors: a place to go on from is one that was told before, or it is refused.
func FuzzCursors(f *testing.F) {
	a := newArena(f)
	lists := []string{
		"/v1/namespaces/claims?cursor=", "/v1/namespaces/$namespace/events?after=", "/v1/namespaces/$namespace/events?before=", "/v1/claims/$approvedId/events?after=",
		"/v1/namespaces/claims/changes?since=", "/v1/services/$serviceId/webhooks/$webhookId/deliveries?before=", "/v1/services/$serviceId/webhooks/$webhookId/events?after=",
		"/v1/namespaces/$namespace/claims?as_of=",
	}
	for i := range lists {
		for _, cursor := range []string{"", "0", "1", "aCwA", "aAAA", "AQ", "aP__________fwA", "$claimId", "evt_1", "18446744073709551615", "2026-01-01T00:00:00Z", "0000-01-01T00:00:00%2B23:59", "9999-12-31T23:59:59-23:59", "%00", "-1", "$first"} {
			f.Add(byte(i), cursor)
		}
	}
	f.Fuzz(func(t *testing.T, list byte, cursor string) {
		target := lists[int(list)%len(lists)]
		if strings.Contains(cursor, "$first") {
			cursor = strings.ReplaceAll(cursor, "$first", a.cursor(t, target))
		}
		a.send(t, exchange{method: "GET", target: target + cursor, sign: a.caller(0, nil)})
	})
}

var anyCursor = regexp.MustCompile(`"(?:next_)?cursor":"([^"]*)"`)

// cursor is one that a list tells.
func (a *arena) cursor(t *testing.T, target string) string {
	t.Helper()
	path, _, _ := strings.Cut(target, "?")
	rep := a.send(t, exchange{method: "GET", target: path + "?limit=1", sign: a.caller(0, nil)})
	if m := anyCursor.FindSubmatch(rep.body); m != nil {
		return string(m[1])
	}
	return ""
}

// FuzzBody: a body is taken as described, or refused and nothing happened.
func FuzzBody(f *testing.F) {
	a := newArena(f)
	for _, op := range operations(f) {
		if op.method == http.MethodGet {
			continue
		}
		for kind := range byte(4) {
			f.Add(op.method, op.target, []byte{}, "", "", kind)
			f.Add(op.method, op.target, []byte(`{}`), "application/json", "", kind)
		}
		for _, body := range op.bodies() {
			f.Add(op.method, op.target, body, "application/json", "", byte(0))
			f.Add(op.method, op.target, body, "application/json; charset=utf-8", "retry-1", byte(3))
			f.Add(op.method, op.target, body, "application/json", " ", byte(0))
		}
	}
	const claim = `{"namespace":"$namespace","public_key":"$agentKey","service":"$slug","agent_ip":"::ffff:203.0.113.45%0","nonce":"nonce-12345","subject":null,"agent_id":7}`
	for _, at := range []string{"9999-12-31T23:59:59-23:59", "2099-01-01T1:00:00Z", "2099-01-01T01:00:00,5Z", "2099-01-01T01:00:00+24:00", "2099-01-01t01:00:00z", "2099-01-01T01:00:00Z"} {
		f.Add("POST", "/v1/claims/$claimId/approve", []byte(`{"expires_at":"`+at+`"}`), "application/json", "", byte(1))
	}
	for _, body := range []string{claim, `{"`, `null`, `[]`, `{"namespace":{}}`, `{"a":1}{"a":2}`, "\xef\xbb\xbf{}", `{"nonce":"\ud800"}`, strings.Repeat(`[`, 10_000), strings.Repeat(" ", 64<<10) + "{}"} {
		f.Add("POST", "/v1/claims", []byte(body), "application/json", "", byte(0))
		f.Add("PATCH", "/v1/namespaces/$namespace/policy", []byte(body), "application/json", "", byte(1))
	}
	for _, at := range []string{"0000-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01T00:00:00Z"} {
		f.Add("POST", "/v1/services/$serviceId/webhooks/$webhookId/replay", []byte(`{"from_time":"`+at+`"}`), "application/json", "", byte(1))
	}
	f.Fuzz(func(t *testing.T, method, target string, body []byte, contentType, key string, kind byte) {
		if len(body) > 0 && contentType == "" {
			contentType = "application/json"
		}
		a.send(t, exchange{
			method: method, target: target, body: body, sign: a.caller(kind, body),
			headers: []string{"Content-Type", contentType, "Idempotency-Key", key},
		})
	})
}

// FuzzPath: a path leads where the description says, and nowhere in any other form.
func FuzzPath(f *testing.F) {
	a := newArena(f)
	for _, op := range operations(f) {
		f.Add(op.method, op.target)
		f.Add("OPTIONS", op.target+"/")
		f.Add("PUT", "http://other.example"+op.target)
		f.Add("HEAD", strings.Replace(op.target, "/v1", "//v1/.", 1))
	}
	for _, target := range []string{"/", "*", "", "/%76%31/services", "/v1/services/%2e%2e", "/v1/services/a%2Fb", "/V1/services", "/v1/services?", "/v1/claims/claim_1;x=y", "/v1\\services", "//", "/%", "/v1/services#x"} {
		f.Add("GET", target)
		f.Add("CONNECT", target)
		f.Add("gEt", target)
	}
	f.Fuzz(func(t *testing.T, method, target string) {
		a.send(t, exchange{method: method, target: target, sign: a.caller(0, nil)})
	})
}

// ofProcess are paths that are described, and served by the process around the API.
var ofProcess = regexp.MustCompile(`^/(health|metrics|openapi\.json|docs)(/|$)`)

type endpoint struct{ api.Endpoint }

var brace = regexp.MustCompile(`\{(\w+)\}`)

// target is the endpoint's path with names for what stands in braces.
func (e endpoint) target() string { return brace.ReplaceAllString(e.Path, "$$${1}") }

func signedEndpoints() (list []endpoint) {
	for _, e := range api.Endpoints() {
		if strings.HasPrefix(e.Who, "signed") {
			list = append(list, endpoint{e})
		}
	}
	return list
}

// needsSignature tells whether a request that succeeded is one that has to be signed.
func needsSignature(method, what string) bool {
	path, _, _ := strings.Cut(strings.TrimPrefix(what, method+" "), "?")
	return slices.ContainsFunc(signedEndpoints(), func(e endpoint) bool {
		return regexp.MustCompile("^" + brace.ReplaceAllString(e.Path, "[^/]+") + "$").MatchString(path)
	})
}

// fuzzedOperation is what the description says of an operation, with a path that leads there.
type fuzzedOperation struct {
	*openapi3.Operation
	method, target string
}

func operations(f *testing.F) (list []fuzzedOperation) {
	text, err := openapi.Document("https://ledger.example")
	if err != nil {
		f.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		f.Fatal(err)
	}
	paths := doc.Paths.Map()
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if ofProcess.MatchString(path) {
			continue
		}
		methods := paths[path].Operations()
		for _, method := range slices.Sorted(maps.Keys(methods)) {
			op := methods[method]
			op.Parameters = append(op.Parameters, paths[path].Parameters...)
			target := brace.ReplaceAllString(path, "$$${1}")
			if strings.Contains(path, "api-keys") {
				target = strings.Replace(target, "$keyId", "$managementId", 1)
			}
			list = append(list, fuzzedOperation{op, method, target})
		}
	}
	return list
}

// ours are the names for what an example in the description says of another ledger.
var ours = map[string]any{
	"namespace": "$namespace", "public_key": "$agentKey", "service": "$slug", "token": "$token", "service_id": "$serviceId", "claim_id": "$claimId", "service_ids": []any{"$serviceId"},
}

// example is a value of a parameter.
func example(p *openapi3.Parameter) string {
	value := p.Example
	for _, e := range p.Examples {
		value = e.Value.Value
	}
	if p.Schema != nil && value == nil {
		for _, v := range []any{p.Schema.Value.Example, p.Schema.Value.Default, p.Schema.Value.Min, p.Schema.Value.Max} {
			if value == nil {
				value = v
			}
		}
	}
	if name, ok := ours[p.Name].(string); ok {
		value = strings.Replace(name, "$agentKey", "$escapedKey", 1)
	}
	text, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return strings.Trim(string(text), `"`)
}

// bodies are the examples of the operation's body.
func (o fuzzedOperation) bodies() (list [][]byte) {
	if o.RequestBody == nil {
		return nil
	}
	media := o.RequestBody.Value.Content["application/json"]
	values := []any{media.Example, media.Schema.Value.Example}
	for _, name := range slices.Sorted(maps.Keys(media.Examples)) {
		values = append(values, media.Examples[name].Value.Value)
	}
	for _, value := range values {
		if object, ok := value.(map[string]any); ok {
			text, err := json.Marshal(asOurs(object))
			if err == nil {
				list = append(list, text)
			}
		}
	}
	return list
}

func asOurs(object map[string]any) map[string]any {
	for name, value := range object {
		if inner, ok := value.(map[string]any); ok {
			object[name] = asOurs(inner)
		} else if our, ok := ours[name]; ok {
			object[name] = our
		}
	}
	return object
}
