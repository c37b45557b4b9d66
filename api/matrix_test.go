package api_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/domain"
)

// caller is one kind of caller of acme's operations, with what it shows.
type caller struct {
	name    string
	signs   string // the namespace that it signs as
	service string // whose service key it shows: one of the constants below
	owner   string // the namespace that its session or management key is of
	// permissions are those of its management key; nil for a session.
	permissions []domain.Permission
	foreignPage bool // a browser sends its cookie along with another site's request
	show        func(rule) []option
}

const (
	noKey     = ""
	weather   = "acme's weather"
	news      = "acme's news"
	same      = "globex's weather"
	notGood   = "a key that is not good"
	ownSpace  = "acme"
	elsewhere = "globex"
)

// wants is what the contract has an operation on something of acme's answer to a caller:
// empty when it is allowed, and else the status and code of the first check that fails.
func (c caller) wants(r rule) string {
	method, _, _ := strings.Cut(r.op, " ")
	foreign := c.foreignPage && method != http.MethodGet
	switch r.who {
	case anyone:
		return ""
	case signingIn:
		if foreign {
			return "403 FORBIDDEN"
		}
		return ""
	case ownerOf, session:
		return c.wantsAsOwner(r, foreign)
	}
	switch {
	case c.signs == "":
		return "401 SIGNATURE_MISSING"
	case r.who == serviceOf && c.service == noKey:
		return "401 UNAUTHORIZED"
	case r.who == serviceOf && c.service == notGood:
		return "401 SIGNATURE_INVALID"
	case r.who == maybeService && c.service == notGood:
		return "401 UNAUTHORIZED"
	case r.who != signer && c.service == news:
		if r.who == maybeService && c.signs != ownSpace {
			return "403 SIGNATURE_NAMESPACE_MISMATCH"
		}
		return "403 FORBIDDEN"
	case strings.HasPrefix(r.op, "GET /v1/namespaces/claims"): // the key decides
		return ""
	case r.op == "POST /v1/claims" && c.service == same && c.signs == elsewhere: // for the agent
		return ""
	case c.signs != ownSpace:
		return "403 SIGNATURE_NAMESPACE_MISMATCH"
	}
	return ""
}

func (c caller) wantsAsOwner(r rule, foreign bool) string {
	switch {
	case c.owner == "":
		return "401 UNAUTHORIZED"
	case foreign:
		return "403 FORBIDDEN"
	case r.who == session && c.permissions != nil:
		return "403 FORBIDDEN"
	case c.permissions != nil && r.permission != "" && !slices.Contains(c.permissions, r.permission):
		return "403 PERMISSION_REQUIRED"
	case c.owner != ownSpace && r.others == forbidden:
		return "403 FORBIDDEN"
	case c.owner != ownSpace && r.others == unknown:
		return "404 NOT_FOUND"
	}
	return ""
}

// callers are all kinds of callers there are.
func (s *scene) callers() []caller {
	show := func(options ...option) func(rule) []option { return func(rule) []option { return options } }
	stranger := s.node.agent(s.t, elsewhere)
	signs, signsElsewhere := signedBy(s.agent.Signer), signedBy(stranger.Signer)
	gone, revoked := s.deadServiceKeys()
	list := []caller{
		{name: "nobody", show: show()},
		{name: "somebody with made-up credentials", show: show(bearer("x"), managementKey("y"), cookie("z"))},
		{name: "a signer", signs: ownSpace, show: show(signs)},
		{name: "a signer elsewhere", signs: elsewhere, show: show(signsElsewhere)},

		{name: "a service key alone", service: weather, show: show(bearer(s.service.key))},
		{name: "a service", signs: ownSpace, service: weather, show: show(bearer(s.service.key), signs)},
		{name: "a service, signed elsewhere", signs: elsewhere, service: weather, show: show(bearer(s.service.key), signsElsewhere)},
		{name: "another service of the owner", signs: ownSpace, service: news, show: show(bearer(s.news.key), signs)},
		{name: "another service, signed elsewhere", signs: elsewhere, service: news, show: show(bearer(s.news.key), signsElsewhere)},
		{name: "another owner's service", signs: ownSpace, service: same, show: show(bearer(s.same.key), signs)},
		{name: "another owner's service, signed there", signs: elsewhere, service: same, show: show(bearer(s.same.key), signsElsewhere)},
		{name: "a deactivated service key", signs: ownSpace, service: notGood, show: show(bearer(gone), signs)},
		{name: "a revoked service key", signs: ownSpace, service: notGood, show: show(bearer(revoked), signs)},
		{name: "a service key in the wrong header", signs: ownSpace, show: show(managementKey(s.service.key), signs)},
	}
	return append(append(list, s.sessions(signs)...), s.managementKeys()...)
}

func (s *scene) deadServiceKeys() (deactivated, revoked string) {
	keys := "/v1/services/" + s.service.id + "/keys"
	make := func() (string, string) {
		r := s.own.ask("POST", keys, nil).want(201)
		return r.text("key"), r.text("id")
	}
	deactivated, id := make()
	s.own.ask("POST", keys+"/"+id+"/deactivate", nil).want(200)
	revoked, id = make()
	s.own.ask("DELETE", keys+"/"+id, nil).want(200)
	return deactivated, revoked
}

// sessions are callers with sessions, each of which survives a logout.
func (s *scene) sessions(signs option) []caller {
	of := func(o *owner, show ...func(string) option) func(rule) []option {
		return func(r rule) []option {
			token := o.session
			if r.who == session {
				again := *o
				again.signInAgain()
				token = again.session
			}
			var options []option
			for _, f := range show {
				options = append(options, f(token))
			}
			return options
		}
	}
	also := func(o option) func(string) option { return func(string) option { return o } }
	ended := *s.own
	ended.signInAgain()
	ended.ask("POST", "/v1/auth/logout", nil).want(200)
	return []caller{
		{name: "an owner", owner: ownSpace, show: of(s.own, bearer)},
		{name: "an owner's browser", owner: ownSpace, show: of(s.own, cookie, also(set("Sec-Fetch-Site", "same-origin")))},
		{name: "an owner's browser on another site's page", owner: ownSpace, foreignPage: true,
			show: of(s.own, cookie, also(set("Sec-Fetch-Site", "cross-site")), also(set("Origin", "https://evil.example")))},
		{name: "an owner who signs", signs: ownSpace, service: notGood, owner: ownSpace, show: of(s.own, bearer, also(signs))},
		{name: "another owner", owner: elsewhere, show: of(s.other, bearer)},
		{name: "another owner's browser", owner: elsewhere, show: of(s.other, cookie)},
		{name: "an owner who logged out", show: func(rule) []option { return []option{bearer(ended.session)} }},
		{name: "the browser of an owner who logged out", show: func(rule) []option { return []option{cookie(ended.session)} }},
		// What is most explicit counts, good or not.
		{name: "an owner with a bad key", show: of(s.own, bearer, also(managementKey("sigma_sk_live_x")))},
	}
}

// managementKeys are callers with each single permission, with all but one, and with
// keys that have ended.
func (s *scene) managementKeys() (list []caller) {
	add := func(o *owner, name string, permissions ...domain.Permission) {
		texts := make([]string, len(permissions))
		for i, p := range permissions {
			texts[i] = string(p)
		}
		show, _ := o.key(texts...)
		list = append(list, caller{name: name, owner: o.namespace, permissions: permissions, show: func(rule) []option { return []option{show} }})
	}
	add(s.own, "a key with all permissions", domain.Permissions...)
	for _, p := range domain.Permissions {
		add(s.own, "a key with "+string(p), p)
		add(s.own, "a key without "+string(p), slices.DeleteFunc(slices.Clone(domain.Permissions), func(q domain.Permission) bool { return q == p })...)
		add(s.other, "another owner's key with "+string(p), p)
	}
	for name, request := range map[string]string{"deactivated": "POST /v1/api-keys/%s/deactivate", "deleted": "DELETE /v1/api-keys/%s"} {
		show, id := s.own.key("read", "update-data", "delete-data", "update-model", "delete-model")
		method, path, _ := strings.Cut(fmt.Sprintf(request, id), " ")
		s.own.ask(method, path, nil).want(200)
		list = append(list, caller{name: "a key that was " + name, show: func(rule) []option { return []option{show} }})
	}
	return list
}

// Every operation of the description, called as every kind of caller, is allowed to
// those whom the contract names, and refuses all others as it says: and then records
// nothing.
func TestWhoMayCall(t *testing.T) {
	s := newScene(t)
	callers := s.callers()
	for _, op := range slices.Sorted(maps.Keys(s.document.operations)) {
		if slices.Contains(ofTheProcess, op) {
			continue
		}
		t.Run(op, func(t *testing.T) {
			r := ruleOf(t, op)
			method, target := s.target(r)
			body := s.body(r)
			for _, c := range callers {
				want := c.wants(r)
				if want == "" {
					method, target = s.target(r) // the one before may be used up
					body = s.body(r)
				}
				show := c.show(r)
				before := s.last()
				got := s.node.send(t, method, target, body, show...)
				answered := ""
				if got.status >= http.StatusMultipleChoices {
					answered = fmt.Sprintf("%d %s", got.status, got.text("code"))
				}
				if answered != want {
					t.Errorf("%s is answered %q, want %q\n%s", c.name, answered, want, got.body)
				}
				if after := s.last(); want != "" && after != before {
					t.Errorf("%s is refused, and the log went from %d to %d", c.name, before, after)
				}
			}
		})
	}
}

// Another owner's claim is refused as such from the moment it was answered, however far
// the read models are.
func TestAnotherOwnersNewClaim(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	s, other := n.owner(t, "acme").service("weather"), n.owner(t, "globex")
	for range 9 {
		id := s.pending(l.agent(t, "acme"))
		for _, path := range []string{"/v1/claims/" + id, "/v1/claims/" + id + "/events"} {
			other.refused(403, domain.CodeForbidden, "GET", path, nil, set("Ledger-Min-Position", ""))
		}
		id = s.pending(l.agent(t, "acme"))
		other.refused(403, domain.CodeForbidden, "POST", "/v1/claims/"+id+"/approve", nil)
	}
}

// The table, the description and the router have the same operations, and the same is
// said of who may call them.
func TestRulesAreComplete(t *testing.T) {
	s := newScene(t)
	schemes := map[who]string{
		anyone: "", signingIn: "", signer: "signedHeaders", serviceOf: "serviceKey+signedHeaders", maybeService: "serviceKey+signedHeaders signedHeaders",
		ownerOf: "managementKey sessionToken sessionCookie", session: "sessionToken sessionCookie",
	}
	for op, o := range s.document.operations {
		if slices.Contains(ofTheProcess, op) {
			continue
		}
		r := ruleOf(t, op)
		security := o.Security
		if security == nil {
			security = s.document.security
		}
		var shown []string
		for _, alternative := range security {
			shown = append(shown, strings.Join(slices.Sorted(maps.Keys(alternative)), "+"))
		}
		if got := strings.Join(shown, " "); got != schemes[r.who] || o.Permission != string(r.permission) {
			t.Errorf("%s is described as open to %q with %q, and is for %s with %q", op, got, o.Permission, r.who, r.permission)
		}
	}
	routes := map[string]bool{}
	for _, route := range s.router.Routes() {
		routes[anyName(route)] = true
	}
	for _, r := range rules {
		if _, ok := s.document.operations[r.op]; !ok {
			t.Errorf("%s is not described", r.op)
		}
	}
	ops := map[string]bool{}
	for op := range s.document.operations {
		if op == "GET /docs/{file}" { // each file is a route of its own
			continue
		}
		ops[anyName(op)] = true
		if !routes[anyName(op)] && !slices.Contains(ofTheProcess, op) {
			t.Errorf("%s is described, and is not there", op)
		}
	}
	for route := range routes {
		if !ops[route] && !strings.HasPrefix(route, "GET /docs/") {
			t.Errorf("%s is there, and is not described", route)
		}
	}
}

// anyName is a route without the names of its parameters.
func anyName(route string) string {
	parts := strings.Split(route, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, "{") {
			parts[i] = "{}"
		}
	}
	return strings.Join(parts, "/")
}
