package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestScripts sends the requests in testdata/*.txt, file by file and from top to
// bottom, and compares the answers. A case is
//
//	== what it shows
//	METHOD target
//	as: owner | cookie | key <permission>… | agent | service | nobody
//	Header: value
//	body
//	-- status [CODE [field…]]
//	Header: regular expression
//	{"part": "of the answer's JSON"}
//
// where $name is something in the world of the script, $(x*70) is a text that is long,
// and the fields are those that the error has details about, in order. Whatever is
// refused must not append.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := newScriptWorld(t)
			for _, c := range strings.Split("\n"+string(text), "\n== ")[1:] {
				name, rest, _ := strings.Cut(c, "\n")
				t.Run(name, func(t *testing.T) { w.run(t, w.expand(t, rest)) })
			}
		})
	}
}

// scriptWorld is what scripts find: acme with a service, a key, a webhook and a pending
// claim, and globex, another owner's, with the same.
type scriptWorld struct {
	*owner
	service *service
	agent   *agent
	names   *strings.Replacer
	keys    map[string]option
}

func newScriptWorld(t *testing.T) *scriptWorld {
	l := newLedger(t)
	n := l.start()
	w := &scriptWorld{owner: n.owner(t, "acme"), agent: l.agent(t, "acme"), keys: map[string]option{}}
	w.service = w.owner.service("weather")
	names := []string{"$key", w.agent.public, "$query_key", escape(w.agent.public)}
	for prefix, o := range map[string]*owner{"": w.owner, "other_": n.owner(t, "globex")} {
		s := w.service
		if prefix != "" {
			s = o.service("weather")
		}
		hook := o.ask("POST", "/v1/services/"+s.id+"/webhooks", map[string]any{"url": "https://example.com/hook"}).want(201)
		_, managementKey := o.key("read")
		names = append(names, "$"+prefix+"service", s.id, "$"+prefix+"webhook", hook.text("id"),
			"$"+prefix+"servicekey", s.keyID, "$"+prefix+"managementkey", managementKey,
			"$"+prefix+"claim", s.pending(l.agent(t, o.namespace)))
	}
	w.names = strings.NewReplacer(longestFirst(names)...)
	return w
}

// longestFirst orders pairs so that $servicekey is not taken for $service.
func longestFirst(pairs []string) []string {
	for i := 0; i < len(pairs); i += 2 {
		for j := i + 2; j < len(pairs); j += 2 {
			if len(pairs[j]) > len(pairs[i]) {
				pairs[i], pairs[i+1], pairs[j], pairs[j+1] = pairs[j], pairs[j+1], pairs[i], pairs[i+1]
			}
		}
	}
	return pairs
}

var repeated = regexp.MustCompile(`\$\(([^*]+)\*(\d+)\)`)

func (w *scriptWorld) expand(t *testing.T, text string) string {
	t.Helper()
	return repeated.ReplaceAllStringFunc(w.names.Replace(text), func(s string) string {
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
	var headers []option
	who := "owner"
	lines = lines[1:]
	for len(lines) > 0 {
		m := headerLine.FindStringSubmatch(lines[0])
		if m == nil {
			break
		}
		if m[1] == "as" {
			who = m[2]
		} else {
			headers = append(headers, set(m[1], m[2]))
		}
		lines = lines[1:]
	}
	var body any
	if len(lines) > 0 {
		body = strings.Join(lines, "\n")
	}
	before := w.last()
	r := w.node.send(t, method, target, body, append(headers, w.as(t, who)...)...)
	compare(t, r, expected)
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
	case "agent":
		return []option{signedBy(w.agent.Signer)}
	case "service":
		return []option{bearer(w.service.key), signedBy(w.agent.Signer)}
	case "key":
		if w.keys[rest] == nil {
			w.keys[rest], _ = w.owner.key(strings.Fields(rest)...)
		}
		return []option{w.keys[rest]}
	}
	t.Fatalf("nobody is called %q", who)
	return nil
}

// compare checks an answer against the part of a case that follows the two dashes.
func compare(t *testing.T, r *reply, expected string) {
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
