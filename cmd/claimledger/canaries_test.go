package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// canaries are secrets by what they are. Whatever is given out or taken as a secret is
// added here by the test that uses it; where it must not be is looked for by all of them.
type canaries map[string]string

// forms are the ways in which a secret could stand somewhere.
func forms(secret string) [][]byte {
	list := [][]byte{
		[]byte(secret), []byte(url.QueryEscape(secret)),
		[]byte(hex.EncodeToString([]byte(secret))), []byte(strings.ToUpper(hex.EncodeToString([]byte(secret)))),
	}
	for shift := range 3 {
		// Inside of something longer, base64 of a text depends on where the text begins. The
		// characters at both ends are the neighbours' too.
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			encoded := encoding.EncodeToString([]byte(strings.Repeat("-", shift) + secret))
			begin, end := []int{0, 2, 3}[shift], len(encoded)
			if (shift+len(secret))%3 != 0 {
				end--
			}
			list = append(list, []byte(encoded[begin:end]))
		}
	}
	if encoded, ours := strings.CutPrefix(secret, "whsec_"); ours {
		if raw, err := base64.StdEncoding.DecodeString(encoded); err == nil {
			list = append(list, raw, []byte(hex.EncodeToString(raw)), []byte(encoded))
		}
	}
	return list
}

// seeker gives what names the canaries that a text has.
func (c canaries) seeker() func(text []byte) (found []string) {
	all := map[string][][]byte{}
	for name, secret := range c {
		all[name] = forms(secret)
	}
	return func(text []byte) (found []string) {
		for name, forms := range all {
			if slices.ContainsFunc(forms, func(form []byte) bool { return bytes.Contains(text, form) }) {
				found = append(found, name)
			}
		}
		return found
	}
}

// addKey adds what a key file holds, as it stands there and as it is used.
func (c canaries) addKey(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	c["the "+filepath.Base(path)] = string(raw)
}

// inFiles fails the test for each file that has one, but for those that are meant to.
// What is no secret must be found, in NATS's files and in PostgreSQL's: otherwise
// nothing would be.
func (c canaries) inFiles(t *testing.T, dir, noSecret string, meant ...string) {
	t.Helper()
	in, found := c.seeker(), map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || slices.Contains(meant, entry.Name()) {
			return err
		}
		text, err := os.ReadFile(path)
		for _, name := range in(text) {
			t.Errorf("%s is in %s", name, path)
		}
		if bytes.Contains(text, []byte(noSecret)) {
			part, _, _ := strings.Cut(strings.TrimPrefix(path, dir+"/"), "/")
			found[part] = true
		}
		return err
	})
	if err != nil || !found["nats"] || !found["postgres"] {
		t.Errorf("%s was found in %v, %v", noSecret, found, err)
	}
}

// inTables fails the test for each row of a database that has one: in the files,
// PostgreSQL may have compressed it.
func (c canaries) inTables(t *testing.T, database, noSecret string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	in, found := c.seeker(), false
	for _, table := range tables {
		rows, queryErr := conn.Query(ctx, "SELECT r::text FROM "+table+" r")
		if queryErr != nil {
			t.Fatal(queryErr)
		}
		var row string
		_, err = pgx.ForEachRow(rows, []any{&row}, func() error {
			found = found || strings.Contains(row, noSecret)
			for _, name := range in([]byte(row)) {
				t.Errorf("%s is in the table %s", name, table)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err != nil || !found {
		t.Errorf("of %d tables none has %s: %v", len(tables), noSecret, err)
	}
}

// inOutput fails the test for each one that a process wrote.
func (c canaries) inOutput(t testing.TB, p *process, meant ...string) {
	t.Helper()
	for _, name := range c.seeker()([]byte(p.out.String() + p.log.String())) {
		if !slices.Contains(meant, name) {
			t.Errorf("%s is in what %s wrote", name, p.name)
		}
	}
}

// answers are all that a ledger answered to a client.
type answers struct {
	to http.RoundTripper
	mu sync.Mutex
	// all of them, header and body, each after the request that it answers
	all []recorded
}

type recorded struct{ request, answer string }

// recordAnswers keeps what a client is answered from now on.
func recordAnswers(c *client) *answers {
	a := &answers{to: c.http.Transport}
	c.http.Transport = a
	return a
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := a.to.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var text bytes.Buffer
	_ = resp.Header.Write(&text) // to memory
	text.Write(body)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, recorded{r.Method + " " + r.URL.Path, text.String()})
	return resp, err
}

// inAnswers fails the test for each canary that was answered, but for the one time that
// is meant for those that are shown.
func (c canaries) inAnswers(t *testing.T, a *answers, shown ...string) {
	t.Helper()
	in, times := c.seeker(), map[string][]string{}
	for _, each := range a.all {
		for _, name := range in([]byte(each.answer)) {
			times[name] = append(times[name], each.request)
		}
	}
	for name := range c {
		most := 0
		if slices.Contains(shown, name) {
			most = 1
		}
		if len(times[name]) > most {
			t.Errorf("%s is in the answers to %q", name, times[name])
		}
	}
}

// wrongPlaces sends each secret where it does not belong.
func (c canaries) wrongPlaces(tn *tenant) {
	tn.t.Helper()
	for name, secret := range c {
		if strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r > '~' }) {
			continue // it cannot be sent
		}
		for _, send := range []func(string) error{tn.inHeaders, tn.inPaths, tn.inQueries, tn.inBodies} {
			if err := send(secret); err != nil {
				tn.t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// wrong sends a request about whose answer nothing is known but that it is no fault of ours.
// A ledger that is cut off from what it needs may say so.
func (tn *tenant) wrong(method, path string, body []byte, headers ...string) error {
	req, err := http.NewRequestWithContext(context.Background(), method, tn.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+tn.session)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := tn.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 500 && resp.StatusCode != http.StatusServiceUnavailable {
		tn.t.Errorf("%s with a secret in it is answered with %d", method, resp.StatusCode)
	}
	return nil
}

func (tn *tenant) inHeaders(secret string) error {
	path := "/v1/services/" + tn.service
	for _, value := range []string{secret, "Bearer " + secret, "bearer   " + secret, "Basic " + secret, "Bearer " + secret + " x", "Bearer: " + secret} {
		if err := tn.wrong("GET", path, nil, "Authorization", value); err != nil {
			return err
		}
		if err := tn.wrong("GET", "/v1/namespaces/claims", nil, "Authorization", value); err != nil {
			return err
		}
	}
	for _, header := range []string{
		"X-Sigma-ApiKey", "User-Agent", "Idempotency-Key", "If-None-Match", "Last-Event-ID", "Ledger-Min-Position", "Origin", "Accept",
		"Content-Type", "Content-Digest", "Signature", "Signature-Input", "Sigilum-Namespace", "Sigilum-Subject", "Sigilum-Agent-Key", "Sigilum-Agent-Cert",
		"X-Sigilum-Claim-Binding", "X-Forwarded-For", "Referer", "Upgrade", "Sec-Fetch-Site",
	} {
		for _, target := range []string{"GET " + path, "GET /v1/verify", "POST /v1/auth/login", "POST " + path + "/keys", "GET /nowhere"} {
			method, path, _ := strings.Cut(target, " ")
			var body []byte
			if method == "POST" {
				body = []byte("{}")
			}
			if err := tn.wrong(method, path, body, header, secret); err != nil {
				return err
			}
		}
	}
	if slices.ContainsFunc([]string{"sk_live_", "sigma_sk_live_", "whsec_", "login_", "eyJ"}, func(p string) bool { return strings.HasPrefix(secret, p) }) {
		// Any text of a client's own is a good id. The ledger's own secrets it knows.
		if err := tn.wrong("GET", path, nil, "X-Request-ID", secret); err != nil {
			return err
		}
	}
	return tn.wrong("GET", path, nil, "Authorization", "", "Cookie", "sigilum_token="+secret+"; other="+secret)
}

func (tn *tenant) inPaths(secret string) error {
	escaped, service := url.PathEscape(secret), "/v1/services/"+tn.service
	for _, target := range []string{
		"GET /" + escaped, "GET /v1/claims/" + escaped, "GET /v1/claims/" + escaped + "/events", "POST /v1/claims/" + escaped + "/approve",
		"POST /v1/claims/" + escaped + "/expire", "GET /v1/namespaces/" + escaped, "GET /v1/namespaces/" + escaped + "/claims",
		"GET /v1/namespaces/" + escaped + "/events", "GET /v1/namespaces/" + escaped + "/policy", "GET /v1/services/" + escaped,
		"PATCH /v1/services/" + escaped, "DELETE /v1/services/" + escaped, "GET /v1/services/" + escaped + "/keys",
		"POST /v1/services/" + escaped + "/webhooks", "DELETE " + service + "/keys/" + escaped, "POST " + service + "/keys/" + escaped + "/deactivate",
		"GET " + service + "/webhooks/" + escaped, "DELETE " + service + "/webhooks/" + escaped, "GET " + service + "/webhooks/" + escaped + "/deliveries",
		"POST " + service + "/webhooks/" + escaped + "/ping", "GET " + service + "/webhooks/" + tn.hook + "/deliveries/" + escaped,
		"POST " + service + "/webhooks/" + tn.hook + "/deliveries/" + escaped + "/redeliver", "DELETE /v1/api-keys/" + escaped,
		"POST /api-keys/" + escaped + "/deactivate", "DELETE /v1/auth/passkeys/" + escaped, "PUT /v1/claims/" + escaped,
	} {
		method, path, _ := strings.Cut(target, " ")
		if err := tn.wrong(method, path, nil); err != nil {
			return err
		}
	}
	return nil
}

func (tn *tenant) inQueries(secret string) error {
	escaped := url.QueryEscape(secret)
	list := "/v1/namespaces/" + tn.namespace
	for _, path := range []string{
		list + "/claims?limit=", list + "/claims?status=", list + "/claims?as_of=", list + "/claims?service=", list + "/claims?nobody=",
		list + "/events?type=", list + "/events?cursor=", list + "/events?claim_id=", "/v1/services?offset=", "/v1/auth/login?token=",
		"/v1/services/" + tn.service + "/webhooks/" + tn.hook + "/deliveries?state=", "/v1/services/" + tn.service + "/webhooks/" + tn.hook + "/deliveries?cursor=",
		"/v1/verify?namespace=acme&public_key=", "/v1/verify?service=", "/v1/namespaces/claims?cursor=", "/v1/namespaces/claims/changes?since=",
		"/health?", "/nowhere?key=", "/v1/auth/me?%zz=",
	} {
		if err := tn.wrong("GET", path+escaped, nil); err != nil {
			return err
		}
		if err := tn.signedWrong(path + escaped); err != nil {
			return err
		}
	}
	return nil
}

// signedWrong sends the same as a service would.
func (tn *tenant) signedWrong(path string) error {
	_, err := tn.send("GET", path, nil, tn.asGateway)
	return err
}

func (tn *tenant) inBodies(secret string) error {
	service := "/v1/services/" + tn.service
	for _, path := range []string{
		"POST /v1/auth/login", "POST /v1/services", "PATCH " + service, "POST " + service + "/keys", "POST " + service + "/webhooks",
		"POST /v1/api-keys", "PATCH /v1/namespaces/" + tn.namespace + "/policy", "POST /v1/claims/claim_none/approve", "POST /v1/auth/login/passkey",
		"POST " + service + "/webhooks/" + tn.hook + "/replay", "PATCH " + service + "/webhooks/" + tn.hook,
	} {
		method, path, _ := strings.Cut(path, " ")
		for _, body := range []string{
			`{"token":"` + secret, `{"` + secret + `":`, secret, `"` + secret + `"`, `["` + secret + `"]`, `{"` + secret + `":1}`, `{"token":"` + secret + `"}`,
			`{"slug":["` + secret + `"],"name":{"x":"` + secret + `"},"permissions":["` + secret + `"],"url":"` + secret + `","events":["` + secret + `"],` +
				`"public_key":"` + secret + `","agent_ip":"` + secret + `","max_pending":"` + secret + `","expires_at":"` + secret + `","from_time":"` + secret +
				`","auth_header":"` + secret + `","challenge":"` + secret + `","active":"` + secret + `","auto_approve":{"cidrs":["` + secret + `"],"service_ids":["` + secret + `"]}}`,
		} {
			if err := tn.wrong(method, path, []byte(body)); err != nil {
				return err
			}
		}
	}
	_, err := tn.send("POST", "/v1/claims", map[string]any{"namespace": secret, "public_key": secret, "service": secret, "agent_ip": secret, "nonce": 1}, tn.asGateway)
	return err
}
