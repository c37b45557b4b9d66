package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/api/openapi"
	"github.com/claimledger/claimledger/domain"
)

// TestScripts sends the requests in testdata/*.txt, file by file and from top to
// bottom, and compares the answers. A case is
//
//	== what it shows
//	METHOD target
//	as: owner | cookie | other | key <permission>… | agent | service | nobody
//	Header: value
//	altered: Header: value
//	body
//	-- status [CODE [field…]]
//	Header: regular expression
//	$name = part of the answer, or header
//	{"part": "of the answer's JSON"}
//
// where $name is something in the world of the script or kept from an earlier answer,
// $(x*70) is a text that is long, and the fields are those that the error has details
// about, in order. What is altered is so after the request was signed. An agent or a
// service may sign as another: "agent of nobody", "agent nonce n", "agent late", and
// "service other" has the key of the other owner's service. Whatever is refused must not
// append.
func TestScripts(t *testing.T) {
	for file, cases := range scripts(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			w := newScriptWorld(t)
			for _, c := range cases {
				name, rest, _ := strings.Cut(c, "\n")
				t.Run(name, func(t *testing.T) { w.run(t, w.expand(t, rest)) })
			}
		})
	}
}

// scripts are the cases of each file.
func scripts(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	all := map[string][]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[file] = strings.Split("\n"+string(text), "\n== ")[1:]
	}
	return all
}

// scriptWorld is what scripts find: acme with a service, a key, a webhook and a pending
// claim, and globex, another owner's, with the same.
type scriptWorld struct {
	*owner
	service *service
	agent   *agent
	others  *service
	names   map[string]string
	keys    map[string]option
}

func newScriptWorld(t *testing.T) *scriptWorld {
	l := newLedger(t)
	d := &delivered{asked: &asked{ledger: l}}
	n := l.start(d.settings, func(s *settings) { s.limits = domain.DefaultOwnerLimits() })
	if err := openapi.Routes(n.router, n.public); err != nil {
		t.Fatal(err)
	}
	w := &scriptWorld{owner: n.owner(t, "acme"), agent: l.agent(t, "acme"), keys: map[string]option{}}
	w.names = map[string]string{"key": w.agent.public, "query_key": escape(w.agent.public), "delivery": deliveryID}
	for prefix, o := range map[string]*owner{"": w.owner, "other_": n.owner(t, "globex")} {
		s := o.service("weather")
		if prefix == "" {
			w.service = s
		} else {
			w.others = s
		}
		hook := o.ask("POST", "/v1/services/"+s.id+"/webhooks", map[string]any{"url": "https://example.com/hook"}).want(201)
		_, managementKey := o.key("read")
		maps.Copy(w.names, map[string]string{
			prefix + "service": s.id, prefix + "webhook": hook.text("id"), prefix + "servicekey": s.keyID,
			prefix + "managementkey": managementKey, prefix + "claim": s.pending(l.agent(t, o.namespace)),
		})
	}
	token, recorded := n.loginToken("acme")
	n.operator("acme", domain.IssueLoginToken{Token: recorded})
	w.names["token"] = token
	return w
}

var (
	repeated = regexp.MustCompile(`\$\(([^*]+)\*(\d+)\)`)
	name     = regexp.MustCompile(`\$([a-z_]+)`)
	kept     = regexp.MustCompile(`^\$([a-z_]+) = (\S+)$`)
)

func (w *scriptWorld) expand(t *testing.T, text string) string {
	t.Helper()
	text = name.ReplaceAllStringFunc(text, func(s string) string {
		switch value, ok := w.names[s[1:]]; {
		case ok:
			return value
		case s == "$fresh_key":
			return w.ledger.agent(t, "acme").public
		case s == "$soon":
			return w.clock.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		}
		return s // is yet to be kept, or is meant
	})
	return repeated.ReplaceAllStringFunc(text, func(s string) string {
		m := repeated.FindStringSubmatch(s)
		n, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		return strings.Repeat(m[1], n)
	})
}

var headerLine = regexp.MustCompile(`^([A-Za-z][A-Za-z-]*): ?(.*)$`)

func (w *scriptWorld) run(t *testing.T, script string) {
	request, expected, ok := strings.Cut(script, "\n-- ")
	if !ok {
		t.Fatal("there is no answer in the script")
	}
	lines := strings.Split(request, "\n")
	method, target, ok := strings.Cut(lines[0], " ")
	if !ok {
		t.Fatalf("%q is no request", lines[0])
	}
	var headers, altered []option
	who := "owner"
	lines = lines[1:]
	for len(lines) > 0 {
		m := headerLine.FindStringSubmatch(lines[0])
		if m == nil {
			break
		}
		switch m[1] {
		case "as":
			who = m[2]
		case "altered":
			name, value, _ := strings.Cut(m[2], ": ")
			altered = append(altered, set(strings.TrimSuffix(name, ":"), value))
		default:
			headers = append(headers, set(m[1], m[2]))
		}
		lines = lines[1:]
	}
	var body any
	if len(lines) > 0 {
		body = strings.Join(lines, "\n")
	}
	options := slices.Concat(headers, w.as(t, who), altered)
	before := w.last()
	r := w.node.send(t, method, target, body, options...)
	w.compare(t, r, expected)
	if after := w.last(); r.status >= http.StatusBadRequest && after != before {
		t.Errorf("it was refused, and the log went from %d to %d", before, after)
	}
}

func (w *scriptWorld) as(t *testing.T, who string) []option {
	t.Helper()
	kind, rest, _ := strings.Cut(who, " ")
	switch kind {
	case "nobody":
		return nil
	case "owner":
		return []option{bearer(w.session)}
	case "cookie":
		return []option{cookie(w.session)}
	case "other":
		return []option{bearer(w.others.session)}
	case "agent":
		return []option{w.signs(t, rest)}
	case "service":
		if rest == "other" {
			return []option{bearer(w.others.key), w.signs(t, "")}
		}
		return []option{bearer(w.service.key), w.signs(t, rest)}
	case "key":
		if w.keys[rest] == nil {
			w.keys[rest], _ = w.owner.key(strings.Fields(rest)...)
		}
		return []option{w.keys[rest]}
	}
	t.Fatalf("nobody is called %q", who)
	return nil
}

// signs signs as the agent, or as it would somewhere else, again or late.
func (w *scriptWorld) signs(t *testing.T, how string) option {
	t.Helper()
	signer := *w.agent.Signer
	kind, rest, _ := strings.Cut(how, " ")
	switch kind {
	case "":
	case "of":
		signer = *w.agent.as(rest).Signer
	case "nonce":
		signer.Nonce = func() string { return rest }
	case "late":
		signer.Now = func() time.Time { return w.clock.Now().Add(-6 * time.Minute) }
	case "early":
		signer.Now = func() time.Time { return w.clock.Now().Add(time.Minute) }
	default:
		t.Fatalf("nobody signs %q", how)
	}
	return signedBy(&signer)
}

// compare checks an answer against the part of a case that follows the two dashes.
func (w *scriptWorld) compare(t *testing.T, r *reply, expected string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(expected), "\n")
	want := strings.Fields(lines[0])
	got := []string{fmt.Sprint(r.status)}
	if code := r.text("code"); code != "" && r.status >= http.StatusBadRequest {
		got = append(append(got, code), strings.Fields(r.fields())...)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("answered %v, want %v\n%s", got, want, r.body)
	}
	for i, line := range lines[1:] {
		if m := headerLine.FindStringSubmatch(line); m != nil {
			if value := strings.Join(r.header.Values(m[1]), ", "); !regexp.MustCompile("^(?:" + m[2] + ")$").MatchString(value) {
				t.Errorf("header %s is %q, want %q", m[1], value, m[2])
			}
			continue
		}
		if m := kept.FindStringSubmatch(line); m != nil {
			w.keep(t, r, m[1], m[2])
			continue
		}
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		var part, whole any
		if err := json.Unmarshal([]byte(strings.Join(lines[1+i:], "\n")), &part); err != nil {
			t.Fatalf("the expected answer: %v", err)
		}
		r.into(&whole)
		if !contains(whole, part) {
			t.Errorf("the answer is %s", r.body)
		}
		break
	}
}

// keep gives a part of an answer a name.
func (w *scriptWorld) keep(t *testing.T, r *reply, name, part string) {
	t.Helper()
	value := r.text(part)
	if value == "" {
		value = r.header.Get(part)
	}
	if value == "" {
		t.Fatalf("there is no %s in the answer %s", part, r.body)
	}
	w.names[name] = value
}

// contains reports whether all of part is in whole; of a list, every entry in its place.
func contains(whole, part any) bool {
	switch p := part.(type) {
	case map[string]any:
		w, ok := whole.(map[string]any)
		for name, value := range p {
			got, there := w[name]
			ok = ok && there && contains(got, value)
		}
		return ok
	case []any:
		w, ok := whole.([]any)
		if !ok || len(w) != len(p) {
			return false
		}
		for i := range p {
			ok = ok && contains(w[i], p[i])
		}
		return ok
	}
	return reflect.DeepEqual(whole, part)
}

func TestContains(t *testing.T) {
	var whole any
	if err := json.Unmarshal([]byte(`{"a": [{"b": 1, "c": 2}], "d": null}`), &whole); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		`{"a": [{"b": 1}]}`: true, `{"d": null}`: true, `{"a": []}`: false, `{"a": [{"b": 2}]}`: false, `{"e": null}`: false,
	} {
		var part any
		if err := json.Unmarshal([]byte(text), &part); err != nil {
			t.Fatal(err)
		}
		if contains(whole, part) != want {
			t.Errorf("%s: %t", text, !want)
		}
	}
}

// ofNodes are statuses that depend on the node and not on the request alone; other tests
// bring a node into that state.
var ofNodes = []string{"410", "429", "503"}

// withoutScript is what a script cannot show: it has no authenticator, and one head.
func withoutScript(op, status string) bool {
	return strings.Contains(op, "/passkey") || strings.Contains(op, "/signup") || op+" "+status == "GET /v1/log/head 404"
}

// The scripts show each status that an operation is described to answer.
func TestScriptsCoverTheDescription(t *testing.T) {
	s := newScene(t)
	shown := map[string]bool{}
	for _, c := range slices.Concat(slices.Collect(maps.Values(scripts(t)))...) {
		request, expected, _ := strings.Cut(c, "\n-- ")
		_, request, _ = strings.Cut(request, "\n")
		method, target, _ := strings.Cut(strings.SplitN(request, "\n", 2)[0], " ")
		path, _, _ := strings.Cut(target, "?")
		if op := s.document.find(method, path); op != "" {
			shown[op+" "+strings.Fields(expected)[0]] = true
		}
	}
	for op, o := range s.document.operations {
		for status := range o.Responses {
			never := status == "404" && notProvoked[op+" NOT_FOUND"] != ""
			if !slices.Contains(ofTheProcess, op) && !slices.Contains(ofNodes, status) && !shown[op+" "+status] && !never && !withoutScript(op, status) {
				t.Errorf("no script shows %s: %s", op, status)
			}
		}
	}
}

// find is the operation of a request, empty for none. A path in plain letters goes before
// one with names.
func (d *description) find(method, path string) (found string) {
	want := strings.Split(path, "/")
	least := len(want)
	for op := range d.operations {
		m, template, _ := strings.Cut(op, " ")
		parts := strings.Split(template, "/")
		if m != method || len(parts) != len(want) {
			continue
		}
		open := 0
		for i, part := range parts {
			if strings.HasPrefix(part, "{") {
				open++
			} else if part != want[i] {
				open = len(parts)
				break
			}
		}
		if open < least {
			found, least = op, open
		}
	}
	return found
}
