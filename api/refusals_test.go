package api_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore/logtest"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// provoked is a request that an operation has to refuse with a code.
type provoked func(s *scene, r rule) *reply

// provocations make an operation refuse, each with its code. What a code means differs
// by operation in some cases only.
var provocations = map[domain.Code]provoked{
	domain.CodeInvalidRequest: func(s *scene, r rule) *reply {
		switch {
		case strings.HasPrefix(r.op, "GET "):
			return s.call(r, nil, set("Ledger-Min-Position", "x"))
		case strings.Contains(r.op, "/v1/auth/"):
			return s.call(r, map[string]any{})
		}
		return s.call(r, s.body(r), set("Idempotency-Key", strings.Repeat("k", 256)))
	},
	domain.CodeInvalidJSON:          func(s *scene, r rule) *reply { return s.call(r, "{") },
	domain.CodeInvalidWebhookURL:    func(s *scene, r rule) *reply { return s.call(r, map[string]any{"url": "https://127.0.0.1/"}) },
	domain.CodeUnsupportedMediaType: func(s *scene, r rule) *reply { return s.call(r, s.body(r), set("Content-Type", "text/plain")) },
	domain.CodeBodyTooLarge:         func(s *scene, r rule) *reply { return s.call(r, strings.Repeat(" ", maxBody+1)) },

	domain.CodeUnauthorized: func(s *scene, r rule) *reply {
		switch r.who {
		case signingIn:
			body := s.body(r).(map[string]any)
			body["token"] = "login_acme_x"
			return s.call(r, body)
		case serviceOf:
			return s.callAs(r, s.body(r), signedBy(s.agent.Signer))
		case maybeService:
			return s.callAs(r, s.body(r), bearer("sk_live_x"), signedBy(s.agent.Signer))
		}
		return s.callAs(r, s.body(r))
	},
	domain.CodeSignatureMissing: func(s *scene, r rule) *reply {
		return s.callAs(r, s.body(r), append(s.as(r), set("Signature", ""))...)
	},
	domain.CodeSignatureInvalid: func(s *scene, r rule) *reply {
		return s.callAs(r, s.body(r), append(s.as(r), set("Sigilum-Subject", "somebody.else@example.com"))...)
	},
	domain.CodeSignatureExpired: func(s *scene, r rule) *reply {
		late := *s.agent.Signer
		late.Now = func() time.Time { return s.clock.Now().Add(-time.Hour) }
		return s.callAs(r, s.body(r), bearer(s.service.key), signedBy(&late))
	},
	domain.CodeSignatureComponentsInvalid: func(s *scene, r rule) *reply {
		return s.callAs(r, s.body(r), append(s.as(r), tampered(func(s *sending) {
			s.Header.Set("Signature-Input", strings.Replace(s.Header.Get("Signature-Input"), ` "sigilum-subject"`, "", 1))
		}))...)
	},
	domain.CodeSignatureDigestMismatch: func(s *scene, r rule) *reply {
		if body := s.body(r); body != nil {
			return s.callAs(r, body, append(s.as(r), with("{}"))...)
		}
		return s.callAs(r, nil, append(s.as(r), set("Content-Digest", "sha-256=:"+strings.Repeat("A", 43)+"=:"))...)
	},
	domain.CodeSignatureNonceReplay: func(s *scene, r rule) *reply {
		again := *s.agent.Signer
		nonce := "used by " + r.op
		again.Nonce = func() string { return nonce }
		s.callAs(r, s.body(r), bearer(s.service.key), signedBy(&again))
		return s.callAs(r, s.body(r), bearer(s.service.key), signedBy(&again))
	},

	domain.CodeForbidden: func(s *scene, r rule) *reply {
		browser := []option{cookie(s.own.session), set("Sec-Fetch-Site", "cross-site")}
		switch {
		case r.who == serviceOf || r.who == maybeService:
			return s.callAs(r, s.body(r), bearer(s.news.key), signedBy(s.agent.Signer))
		case r.who == session:
			show, _ := s.own.key("read")
			return s.callAs(r, s.body(r), show)
		case r.others == forbidden:
			return s.callAs(r, s.body(r), bearer(s.other.session))
		}
		return s.callAs(r, s.body(r), browser...)
	},
	domain.CodeSignatureNamespaceMismatch: func(s *scene, r rule) *reply {
		return s.callAs(r, s.body(r), bearer(s.service.key), signedBy(s.agent.as("globex").Signer))
	},
	domain.CodeSignatureKeyMismatch: func(s *scene, r rule) *reply {
		return s.callAs(r, s.body(r), bearer(s.service.key), signedBy(s.node.agent(s.t, "acme").Signer))
	},
	domain.CodePermissionRequired: func(s *scene, r rule) *reply {
		return s.callAs(r, s.body(r), without(s, r))
	},

	domain.CodeNotFound: func(s *scene, r rule) *reply {
		nobody := s.agent.as("nobody")
		method, target := s.target(r)
		switch r.op {
		case "POST /v1/claims":
			return s.send(s.t, method, target, s.service.claim(nobody), bearer(s.service.key), signedBy(nobody.Signer))
		case "GET /v1/verify", "GET /v1/namespaces/{namespace}":
			return s.send(s.t, method, strings.Replace(target, "acme", "nobody", 1), nil, signedBy(nobody.Signer))
		}
		if !strings.Contains(r.op, "{") {
			return s.plain(r)
		}
		nothing := *s
		nothing.nonexistent = true
		return nothing.call(r, s.body(r))
	},

	domain.CodeConflict: func(s *scene, r rule) *reply {
		switch r.op {
		case "POST /v1/services/{serviceId}/keys", "POST /v1/services/{serviceId}/webhooks", "POST /v1/api-keys", "POST /api-keys":
			return s.call(r, s.body(r), at(s.full()))
		case "POST " + webhookPath + "/rotate-secret":
			return s.again(r, 3)
		case "POST /v1/auth/signup/options":
			return s.call(r, map[string]any{"namespace": "acme"})
		}
		s.deliveries.busy = true
		defer func() { s.deliveries.busy = false }()
		return s.again(r, 1)
	},
	domain.CodeIdempotencyMismatch: func(s *scene, r rule) *reply {
		s = s.anotherAgent()
		key := set("Idempotency-Key", r.op)
		s.call(r, s.body(r), key).ok()
		body := s.body(r)
		if fields, ok := body.(map[string]any); ok {
			fields["unknown"] = true
		}
		return s.call(r, body, key)
	},
	domain.CodeNonceReplay: func(s *scene, r rule) *reply {
		s = s.anotherAgent()
		body := s.body(r)
		s.call(r, body).ok()
		return s.call(r, body)
	},
	domain.CodeAgentLimitReached: func(s *scene, r rule) *reply {
		s.service.approved(s.own, s.node.agent(s.t, "acme"))
		s.own.policy(map[string]any{"max_agents": 1})
		defer s.own.policy(map[string]any{"max_agents": 10_000})
		return s.call(r, s.body(r))
	},
	domain.CodeServiceLimitReached: func(s *scene, r rule) *reply {
		s.news.approved(s.own, s.node.agent(s.t, "acme"))
		s.own.policy(map[string]any{"max_services": 1})
		defer s.own.policy(map[string]any{"max_services": 10})
		fresh := *s
		fresh.service = s.own.service("third")
		return fresh.call(r, s.body(r))
	},
	domain.CodeAmbiguousService: func(s *scene, r rule) *reply {
		s.service.submit(s.agent).ok()
		s.same.submit(s.agent).ok()
		return s.callAs(r, nil, signedBy(s.agent.Signer))
	},
	domain.CodeResync: func(s *scene, r rule) *reply {
		s.service.approved(s.own, s.node.agent(s.t, "acme"))
		s.service.feed(s.agent, "", s.latest()).ok()
		s.forget(s.last())
		return s.send(s.t, "GET", changesPath+since(0), nil, s.as(r)...)
	},
}

// elsewhereProvoked are codes that need a node of their own, and the tests that have it.
var elsewhereProvoked = map[domain.Code]string{
	domain.CodeRateLimited:        "TestEveryOperationIsRateLimited",
	domain.CodeServiceUnavailable: "TestEveryOperationOutOfReach",
	domain.CodeStaleRead:          "TestEveryReadThatIsTooEarly",
	domain.CodeMethodNotAllowed:   "TestEveryPathAllowsWhatIsDescribed",
}

// notProvoked is what no request can be made to get.
var notProvoked = map[string]string{
	"POST /v1/services NOT_FOUND": "only when the service is deleted between being made and the answer",
	"POST /v1/api-keys NOT_FOUND": "as for services",
	"POST /api-keys NOT_FOUND":    "as for services",
}

// anotherAgent is the scene with an agent that has no claim.
func (s *scene) anotherAgent() *scene {
	c := *s
	c.agent = s.node.agent(s.t, "acme")
	return &c
}

// call calls an operation as its rightful caller.
func (s *scene) call(r rule, body any, options ...option) *reply {
	s.t.Helper()
	// What a signature covers is changed before it is made.
	return s.callAs(r, body, append(options, s.as(r)...)...)
}

func (s *scene) callAs(r rule, body any, options ...option) *reply {
	s.t.Helper()
	method, target := s.target(r)
	return s.send(s.t, method, target, body, options...)
}

// again sends the same request after it succeeded some times.
func (s *scene) again(r rule, times int) *reply {
	s.t.Helper()
	method, target := s.target(r)
	body := s.body(r)
	for range times {
		s.send(s.t, method, target, body, s.as(r)...)
	}
	return s.send(s.t, method, target, body, s.as(r)...)
}

// ok fails unless the request succeeded.
func (r *reply) ok() {
	r.t.Helper()
	if r.status >= http.StatusMultipleChoices {
		r.t.Fatalf("%s: %d %s", r.what, r.status, r.body)
	}
}

// at sends a request to another node.
func at(n *node) option {
	return tampered(func(s *sending) { s.URL.Host = n.addr })
}

// full is a node on which nothing more may be made.
func (s *scene) full() *node {
	return s.start(func(st *settings) { st.limits = domain.OwnerLimits{} })
}

// plain calls an operation at a node that has nothing of what can be switched on.
func (s *scene) plain(r rule) *reply {
	s.t.Helper()
	n := s.start(func(st *settings) { st.publicURL = "http://127.0.0.1:1" })
	o := s.own.on(n) // sessions are of one public URL
	o.signInAgain()
	method, target := s.target(r)
	return n.send(s.t, method, target, s.body(r), bearer(o.session), set("Ledger-Min-Position", ""))
}

// Every operation can be made to refuse with each code that its description promises;
// that it has no other is checked with every answer. Nothing that is refused is recorded.
func TestEveryPromisedRefusal(t *testing.T) {
	s := newScene(t)
	for _, op := range slices.Sorted(maps.Keys(s.document.operations)) {
		promises := s.document.promises(op)
		for _, code := range slices.Sorted(maps.Keys(promises)) {
			provoke, ok := provocations[domain.Code(code)]
			if !ok || notProvoked[op+" "+code] != "" {
				continue
			}
			t.Run(op+" "+code, func(t *testing.T) {
				mine := *s
				mine.t = t
				got := provoke(&mine, ruleOf(t, op))
				if fmt.Sprint(got.status) != promises[code] || got.text("code") != code {
					t.Errorf("answered %d %s, want %s %s\n%s", got.status, got.text("code"), promises[code], code, got.body)
				}
				if rests := restsOnState(ruleOf(t, op), got); rests && got.header.Get("Ledger-Position") == "" {
					t.Errorf("%s is told without the position that it rests on", code)
				}
			})
		}
	}
}

// restsOnState tells whether an answer says what the ledger holds. What was signed before
// and what is switched on are known beside it, and deliveries are the relay's.
func restsOnState(r rule, got *reply) bool {
	return got.status >= http.StatusNotFound && got.status <= http.StatusGone && strings.HasPrefix(r.op[strings.Index(r.op, "/"):], "/v1/") &&
		got.text("code") != string(domain.CodeSignatureNonceReplay) && !slices.Contains(knownAnyway, r.op) && !strings.Contains(r.op, "/v1/auth/") && r.op != "GET /v1/log/head"
}

// Each code that there is has a test that provokes it over HTTP.
func TestEveryCodeIsProvoked(t *testing.T) {
	s := newScene(t)
	promised := map[string]bool{string(domain.CodeMethodNotAllowed): true} // of every path
	for op := range s.document.operations {
		for code := range s.document.promises(op) {
			promised[code] = promised[code] || notProvoked[op+" "+code] == ""
		}
	}
	for code := range api.Statuses() {
		if code == domain.CodeInternal {
			continue // a defect: no request is known to get it, and every answer is checked for it
		}
		if provocations[code] == nil && elsewhereProvoked[code] == "" {
			t.Errorf("no test provokes %s", code)
		}
		if !promised[string(code)] {
			t.Errorf("no operation promises %s, so that it is not provoked", code)
		}
	}
}

func TestEveryOperationIsRateLimited(t *testing.T) {
	s := newScene(t)
	slow := s.start(func(st *settings) { st.rates.Address = 0.001 })
	slow.send(t, "GET", "/v1/auth/me", nil, bearer(s.own.session)).want(200)
	for op := range s.document.operations {
		if _, ok := s.document.promises(op)["RATE_LIMITED"]; ok {
			r := s.call(ruleOf(t, op), nil, at(slow)).want(429, domain.CodeRateLimited)
			if r.header.Get("Retry-After") == "0" {
				t.Errorf("%s: wait for nothing", op)
			}
		}
	}
}

// knownAnyway is what a node can answer from what it knows, or what the deliveries of this
// scene do; whose credential it does not know it cannot tell.
var knownAnyway = []string{"GET /v1/namespaces/{namespace}/policy", "GET /v1/auth/me", "GET " + webhookPath + "/deliveries",
	"GET " + webhookPath + "/deliveries/{deliveryId}", "GET " + webhookPath + "/events",
	"GET /v1/auth/passkeys", "POST /v1/auth/passkeys/options",
	"POST " + webhookPath + "/ping", "POST " + webhookPath + "/replay", "POST " + webhookPath + "/deliveries/{deliveryId}/redeliver"}

// withoutState is what needs neither log nor database here: a challenge is a token, and the
// heads of a scene are its own.
var withoutState = []string{"POST /v1/auth/login/passkey/options", "POST /v1/auth/signup/options", "GET /v1/log/head"}

// Without the log and the database no operation pretends to know.
func TestEveryOperationOutOfReach(t *testing.T) {
	t.Parallel()
	database := pgtest.Server(t)
	h := logtest.OnEmbedded(t)
	l := &ledger{t: t, log: h.Log, usage: noUsage{}, db: database.URL(), clock: &clock{}, public: passkeyURL}
	d := &delivered{asked: &asked{ledger: l}}
	n := l.start(d.settings, func(s *settings) { s.log, s.staleAfter = h.Faulty, 30*time.Second })
	s := d.scene(t, n)
	n.cutOff = true

	var requests []func()
	for op := range s.document.operations {
		if _, ok := s.document.promises(op)["SERVICE_UNAVAILABLE"]; !ok || slices.Contains(withoutState, op) {
			continue
		}
		r := ruleOf(t, op)
		method, target := s.target(r)
		body, options := s.body(r), s.as(r)
		switch {
		case op == "POST /v1/auth/login":
			body = map[string]any{"token": "login_elsewhere_XYZ"}
		case slices.Contains(knownAnyway, op):
			options = []option{managementKey("sigma_sk_live_elsewhere")}
		}
		requests = append(requests, func() { s.send(t, method, target, body, options...).want(503, domain.CodeServiceUnavailable) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := database.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	h.Proxy.Refuse()
	eventually(t, "the connection to break", func() bool { return s.own.decide(s.claim, "revoke", nil).status == 503 })
	n.clock.advance(31 * time.Second)
	before := s.last()
	parallel(len(requests), 8, func(i int) { requests[i]() })
	if after := s.last(); after != before {
		t.Errorf("the log went from %d to %d", before, after)
	}
}

func TestEveryReadThatIsTooEarly(t *testing.T) {
	s := newScene(t)
	var early []string
	for op := range s.document.operations {
		if _, ok := s.document.promises(op)["STALE_READ"]; ok {
			early = append(early, op)
		}
	}
	position := set("Ledger-Min-Position", fmt.Sprint(uint64(headAt)+1))
	parallel(len(early), len(early), func(i int) {
		s.call(ruleOf(t, early[i]), nil, position).want(503, domain.CodeStaleRead)
	})
}

// A path has the methods that are described, and tells which.
func TestEveryPathAllowsWhatIsDescribed(t *testing.T) {
	s := newScene(t)
	methods := map[string][]string{}
	for op := range s.document.operations {
		method, path, _ := strings.Cut(op, " ")
		methods[path] = append(methods[path], method)
		if method == http.MethodGet {
			methods[path] = append(methods[path], http.MethodHead)
		}
	}
	for path, described := range methods {
		if slices.Contains(ofTheProcess, "GET "+path) {
			continue
		}
		allow := strings.Join(slices.Sorted(slices.Values(append(described, http.MethodOptions))), ", ")
		_, target := s.target(rule{op: "GET " + path, permission: "read"})
		before := s.last()
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "OPTIONS"} {
			if slices.Contains(described, method) {
				continue
			}
			status := http.StatusMethodNotAllowed
			if method == http.MethodOptions {
				status = http.StatusNoContent
			}
			r := s.send(t, method, target, nil, bearer(s.own.session))
			if r.status != status || r.header.Get("Allow") != allow {
				t.Errorf("%s: %d, Allow: %s, want %d, %s", r.what, r.status, r.header.Get("Allow"), status, allow)
			}
		}
		if after := s.last(); after != before {
			t.Errorf("%s: the log went from %d to %d", path, before, after)
		}
	}
}

// Of several things that are wrong the first is answered: size, who calls, what is asked,
// whether the caller may, and whether it exists.
func TestOrderOfChecks(t *testing.T) {
	s := newScene(t)
	nothing := *s
	nothing.nonexistent = true
	bad := []option{set("Idempotency-Key", strings.Repeat("k", 256)), set("Ledger-Min-Position", "x")}
	for _, op := range slices.Sorted(maps.Keys(s.document.operations)) {
		promises := s.document.promises(op)
		if slices.Contains(ofTheProcess, op) || promises["UNAUTHORIZED"] == "" && promises["SIGNATURE_MISSING"] == "" {
			continue
		}
		t.Run(op, func(t *testing.T) {
			s, nothing := *s, nothing
			s.t, nothing.t = t, t
			r := ruleOf(t, op)
			unread := any("{")
			if promises["INVALID_JSON"] == "" {
				unread = nil
			}
			lacks := without(&s, r)
			before := s.last()
			if r.who != signingIn { // who sends a login is in its body
				nothing.callAs(r, strings.Repeat(" ", maxBody+1)).want(413, domain.CodeBodyTooLarge)
				nothing.callAs(r, unread, append(bad, set("Content-Type", "text/plain"))...).want(401)
			}
			if promises["INVALID_REQUEST"] != "" && r.who == ownerOf {
				nothing.callAs(r, unread, append(bad, lacks)...).want(400)
				nothing.callAs(r, unread, append(bad, bearer(s.other.session))...).want(400)
				if r.permission != "" {
					nothing.callAs(r, s.body(r), lacks).want(403, domain.CodePermissionRequired)
				}
			}
			if after := s.last(); after != before {
				t.Errorf("the log went from %d to %d", before, after)
			}
		})
	}
}

// without shows a key that has all permissions but the one that is needed.
func without(s *scene, r rule) option {
	var others []string
	for _, p := range domain.Permissions {
		if p != r.permission {
			others = append(others, string(p))
		}
	}
	show, _ := s.own.key(others...)
	return show
}
